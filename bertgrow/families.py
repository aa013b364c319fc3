"""Finds a model family by the name that its package registered as an entry point."""

from importlib.metadata import entry_points

from bertgrow.errors import InputError


def find(name):
    """The `Family` called `name`; an InputError that lists the installed ones otherwise."""
    found = {point.name: point for point in entry_points(group="bertgrow.families")}
    if name not in found:
        raise InputError(
            f"config.model.family is {name!r}; installed families: {', '.join(sorted(found))}"
        )
    return found[name].load()
