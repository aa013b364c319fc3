"""Training runs: stages, working directory, metrics, certificates and progress."""
