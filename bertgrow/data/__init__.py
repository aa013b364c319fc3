"""Data: from text to token stores and training batches."""
