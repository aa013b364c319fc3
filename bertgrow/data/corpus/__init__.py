"""Builds token stores from text: sources, vocabularies, shards."""
