"""MobileBERT and its inverted-bottleneck teacher as pure functions."""
