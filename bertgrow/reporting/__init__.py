"""Reports from working directories: summaries, charts and HTML pages."""
