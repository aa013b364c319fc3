"""Recipes, installed as `bertgrow.configs`; `--config NAME[:VARIANT]` runs one by its name."""
