"""Checkpoints: saving, restoring, checksums, retention and disk space."""
