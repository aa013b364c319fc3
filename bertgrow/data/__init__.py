"""From text to addressable rows of tokens."""
