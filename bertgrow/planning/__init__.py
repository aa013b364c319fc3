"""Estimates parameters, FLOPs, memory, time and cost of a recipe."""
