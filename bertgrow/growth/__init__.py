"""Transforms that turn a trained model into a larger one."""
