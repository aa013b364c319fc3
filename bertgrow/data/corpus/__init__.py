"""Text to token store: sources, vocabulary, shards."""
