"""Recipes: their fields and defaults, functions to write one, reading and checking."""
