"""Recipes: fields and defaults, functions to write, load and check them."""
