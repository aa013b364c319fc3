"""BERT as pure functions, and the registry of model families."""
