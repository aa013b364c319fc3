"""Types, tree helpers, errors, losses, FLOP counts and units. Needs only JAX and NumPy."""
