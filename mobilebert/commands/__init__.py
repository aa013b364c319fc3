"""The `distill` command of `bertgrow`."""
