"""MobileBERT: a model family and its distillation, built on `bertgrow`."""
