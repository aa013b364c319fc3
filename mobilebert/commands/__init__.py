"""Command line of MobileBERT: distill."""
