"""Recipes, installed as `bertgrow.configs`; `--config NAME[:VARIANT]` selects one by name."""
