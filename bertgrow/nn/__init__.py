"""Networks: Flax Linen inside, pure functions outside."""
