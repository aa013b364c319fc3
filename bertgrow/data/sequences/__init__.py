"""Builds training batches from token stores: packing, pairs, mixing, masking."""
