"""Growth operators, one method a file; the registry in growth/registry.py lists them."""
