"""Fine-tuning and evaluation on GLUE, SQuAD and labelled tables."""
