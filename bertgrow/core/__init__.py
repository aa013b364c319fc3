"""Types, tree helpers, errors, losses, FLOP counts and units; needs only JAX and NumPy."""
