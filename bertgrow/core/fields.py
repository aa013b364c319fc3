"""Declares configuration fields: default, meaning, unit and allowed values.

    steps: int = option(0, "updates of the stage", unit="steps", minimum=0)

This line in a frozen dataclass is the only description of the field. It gives recipes their
defaults, docs/recipes.md and `--help-config` their text, and `check` its limits. The program
sets a field that has no `option`; a recipe cannot set it.
"""

import dataclasses
import difflib
from typing import Any, NamedTuple, get_args

from bertgrow.core.errors import InputError

REQUIRED = dataclasses.MISSING
LARGEST = 2**31 - 1  # whole number on a device; numbers above it are refused
KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}


class Option(NamedTuple):
    """Declaration of one field of a recipe."""

    name: str
    type: Any  # bool, int, float, str, or a union of one of them and dict
    default: Any  # `REQUIRED` if a recipe must set it
    meaning: str
    unit: str = ""
    minimum: float | None = None
    above: float | None = None  # exclusive minimum
    maximum: float | None = None
    below: float | None = None  # exclusive maximum
    choices: tuple = ()  # allowed strings
    keys: tuple = ()  # allowed keys if the value is a dict; its values have the same limits

    def expected(self):
        """Describes the allowed values, e.g. `a whole number of at least 1`."""
        if self.choices:
            words = f"one of {', '.join(self.choices)}"
        else:
            words = " or ".join(KINDS[kind] for kind in _kinds(self) if kind is not dict)
            words += _range(self)
        return words + (f", or a dict of these by {', '.join(self.keys)}" if self.keys else "")


def option(default, meaning, **limits):
    """Declares a field of a frozen dataclass; `limits` are the other fields of `Option`."""
    return dataclasses.field(default=default, metadata=dict(meaning=meaning, **limits))


def options(cls):
    """Returns {name: `Option`} of a dataclass, in the order of its fields."""
    return {
        field.name: Option(field.name, field.type, field.default, **field.metadata)
        for field in dataclasses.fields(cls)
        if field.metadata
    }


def defaults(cls):
    """Returns {name: default} of the optional fields."""
    known = options(cls).values()
    return {field.name: field.default for field in known if field.default is not REQUIRED}


def values(config):
    """Returns {name: value} of the declared fields of a dataclass instance."""
    return {name: getattr(config, name) for name in options(config)}


def make(cls, settings, prefix):
    """Checks the dict `settings` and builds the dataclass `cls` from it."""
    check(cls, settings, prefix)
    for field in options(cls).values():
        if field.default is REQUIRED and field.name not in settings:
            raise InputError(f"{prefix}.{field.name} is missing; expected {field.expected()}")
    return cls(**settings)


def check(cls, settings, prefix=""):
    """Raises `InputError` at the first unknown field or invalid value.

    Args:
      cls: dataclass that declares the fields.
      settings: {name: value}, some of its fields.
      prefix: of the field's name in the error, e.g. "config.masking".
    """
    known = options(cls)
    for name, value in settings.items():
        path = f"{prefix}.{name}" if prefix else name
        if name not in known:
            raise InputError(f"{path} is no field of a recipe; {nearest(name, known)}")
        if not allows(known[name], value):
            too_large = isinstance(value, int | float) and abs(value) > LARGEST
            limit = f", at most {LARGEST:,}" if too_large else ""
            expected = known[name].expected() + limit
            raise InputError(f"{path} is {value!r}; expected {expected}")


def allows(known, value):
    """Whether `value` has a type, range and choice that the field `known` allows."""
    kinds = _kinds(known)
    if isinstance(value, dict) and dict in kinds:
        return all(key in known.keys and allows(known, part) for key, part in value.items())
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, str):
        return str in kinds and (not known.choices or value in known.choices)
    is_number = isinstance(value, int) and (int in kinds or float in kinds)
    is_number |= isinstance(value, float) and float in kinds
    return is_number and abs(value) <= LARGEST and _in_range(known, value)


def nearest(name, names):
    """Returns `did you mean 'x'?`, or the list of names if none is similar."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(names))}"


def divides(config, divisor, dividend):
    """Raises `InputError` unless the value of field `divisor` divides that of `dividend`."""
    small, large = getattr(config, divisor), getattr(config, dividend)
    if large % small:
        raise InputError(
            f"{divisor} {small} does not divide {dividend} {large}: change one of the two"
        )


def expect(is_right, name, value, expected):
    """Raises `InputError` for the field `name` unless `is_right`."""
    if not is_right:
        raise InputError(f"{name} is {value!r}; expected {expected}")


def _kinds(known):
    return get_args(known.type) or (known.type,)


def _in_range(known, value):
    return (
        (known.minimum is None or value >= known.minimum)
        and (known.above is None or value > known.above)
        and (known.maximum is None or value <= known.maximum)
        and (known.below is None or value < known.below)
    )


def _range(known):
    """Describes the limits of a number, e.g. ` above 0 and below 1`; `LARGEST` is implied."""
    if known.minimum is not None and known.maximum is not None:
        return f" from {known.minimum:g} to {known.maximum:g}"
    limits = {
        "of at least": known.minimum,
        "above": known.above,
        "of at most": known.maximum,
        "below": known.below,
    }
    words = [f"{word} {limit:g}" for word, limit in limits.items() if limit is not None]
    return f" {' and '.join(words)}" if words else ""
