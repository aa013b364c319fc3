"""Grows a trained model into a larger one."""
