"""MobileBERT: a guest family on top of `bertgrow`."""
