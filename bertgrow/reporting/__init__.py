"""Summaries, charts and pages made from working directories."""
