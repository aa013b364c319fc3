"""Checkpoints with checksums."""
