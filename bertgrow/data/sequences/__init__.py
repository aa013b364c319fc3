"""Token store to training batches: packing, pairs, mixing, masking."""
