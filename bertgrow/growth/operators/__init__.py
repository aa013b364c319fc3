"""Growth operators, grouped by method. growth/registry.py lists them."""
