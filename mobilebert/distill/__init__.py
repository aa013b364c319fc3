"""Knowledge distillation from a teacher to a student."""
