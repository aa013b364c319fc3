"""MobileBERT and its inverted-bottleneck teacher (IB-BERT) as pure functions."""
