"""Training objectives of stages, and how a stage is entered."""
