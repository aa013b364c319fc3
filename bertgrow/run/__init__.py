"""Runs a recipe stage by stage and keeps its working directory."""
