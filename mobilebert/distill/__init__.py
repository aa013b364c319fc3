"""Knowledge transfer from a teacher to a student."""
