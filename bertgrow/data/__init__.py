"""Builds token stores from text, and training batches from token stores."""
