"""Tests of option fields: type and limit checks."""

import dataclasses
import math

import pytest

from bertgrow.core import fields
from bertgrow.core.errors import InputError
from bertgrow.core.fields import REQUIRED, option
from bertgrow.models import families
from bertgrow.recipes import optimization, schema


@dataclasses.dataclass(frozen=True)
class Example:
    steps: int = option(REQUIRED, "updates", unit="steps", minimum=1)
    rate: float = option(0.15, "fraction", above=0, below=1)
    hard: float = option(0.5, "fraction", minimum=0, maximum=1)
    pooler: bool = option(False, "a layer more")
    remat: str = option("none", "what is computed again", choices=("none", "full"))
    moments: str | dict = option("copy", "moments", choices=("copy", "reset"), keys=("width",))
    derived: int = 3


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("steps", 0, "a whole number of at least 1"),
        ("steps", True, "a whole number"),
        ("steps", 3.0, "a whole number"),
        ("steps", "3", "a whole number"),
        ("rate", 1.5, "a number above 0 and below 1"),
        ("rate", 0, "above 0"),
        ("rate", math.nan, "a number"),
        ("hard", math.inf, "a number from 0 to 1"),
        ("rate", "0.1", "a number"),
        ("pooler", 1, "True or False"),
        ("remat", "fall", "one of none, full"),
        ("moments", {"depth": "copy"}, "or a dict of these by width"),
        ("moments", {"width": "keep"}, "one of copy, reset"),
    ],
)
def test_a_value_outside_the_declared_ones_is_refused(name, value, expected):
    with pytest.raises(InputError, match=f"^config.x.{name} is .*; expected .*{expected}"):
        fields.check(Example, {name: value}, "config.x")


def test_the_limits_themselves_are_allowed():
    given = dict(steps=1, rate=0.5, hard=1, remat="full", moments={"width": "reset"})

    assert fields.make(Example, given, "config.x") == Example(**given)


def test_what_is_missing_misspelt_or_set_by_the_program_is_refused():
    with pytest.raises(InputError, match="config.x.steps is missing"):
        fields.make(Example, {}, "config.x")
    with pytest.raises(InputError, match="config.x.step is no field .*'steps'"):
        fields.check(Example, dict(step=1), "config.x")
    with pytest.raises(InputError, match="config.x.derived is no field"):
        fields.check(Example, dict(derived=1), "config.x")


def test_every_default_is_allowed_and_has_a_meaning():
    classes = [*schema.SECTIONS.values(), schema.StageConfig, schema.RunConfig]
    classes += [cls for each in optimization.CHOICES.values() for cls in each.values()]
    for name in families.names():
        family = families.find(name)
        classes += [family.config, *family.sections.values()]

    for cls in classes:
        fields.check(cls, fields.defaults(cls), cls.__name__)
        assert all(each.meaning for each in fields.options(cls).values())
