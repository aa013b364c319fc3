"""Training: the jitted step, the loop, optimizers, shardings and checkpoints."""
