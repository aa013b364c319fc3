"""Kills a run again and again, and compares it with one that nobody disturbs."""
