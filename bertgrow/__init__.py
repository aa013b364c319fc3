"""Pre-train BERT-like encoders in stages that start cheap and grow."""

__version__ = "0.1.0"
