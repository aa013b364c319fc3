"""Property tests: any value of any field of a recipe is valid or refused in one line."""

import dataclasses
import math

import pytest
import small_recipe
from hypothesis import example, given
from hypothesis import strategies as st

from bertgrow.core import fields
from bertgrow.core.errors import InputError
from bertgrow.recipes import load, resolve
from configs import mobilebert

RECIPES = [
    resolve.plain(recipe)
    for recipe in (small_recipe.get_config(), mobilebert.get_config("smoke"))
]
RECIPES[0]["model"]["vocab_size"] = 1000
NUMBERS = [-1, 0, 1.5, -0.5, 10**9, 2**40, 10**30, 1e300, math.nan, math.inf, -math.inf]
VALUES = [None, True, False, "", "x", "é\n", b"x", [], [1], {}, {"a": 1}, (1, 2), print]


def paths(value, path=()):
    """All places of a nested recipe, as tuples of keys and indices."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items if isinstance(value, dict | list) else ():
        if isinstance(inner, dict | list):
            yield from paths(inner, (*path, key))
        else:
            yield (*path, key)


def replaced(value, path, new):
    """A copy of a nested recipe with another value at `path`."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


PLACES = [(index, path) for index, recipe in enumerate(RECIPES) for path in paths(recipe)]


@given(
    st.sampled_from(PLACES),
    st.sampled_from(NUMBERS + VALUES) | st.integers() | st.floats() | st.text(),
)
@example((1, ("stages",)), 3)
@example((1, ("transfer",)), 3)
@example((0, ("schedule", "name")), [])
@example((0, ("batch",)), 100_000_000)
def test_a_value_is_accepted_as_valid_or_refused_in_one_line(place, value):
    index, path = place
    try:
        run = resolve.resolve(replaced(RECIPES[index], path, value))
    except InputError as error:
        assert "\n" not in str(error)
        assert not path or any(str(key) in str(error) for key in path)
    else:
        for config in (run, *run.stages, *(stage.model for stage in run.stages)):
            fields.check(type(config), fields.values(config))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, None, "1", -1])
@pytest.mark.parametrize(
    "path",
    [
        ("schedule", "peak"),
        ("schedule", "warmup"),
        ("optimizer", "clip"),
        ("optimizer", "eps"),
        ("optimizer", "weight_decay"),
        ("optimizer", "b1"),
        ("model", "dropout"),
        ("seed",),
        ("log_every",),
        ("stages", 0, "steps"),
    ],
)
def test_a_number_is_finite_in_range_and_no_truth_value(path, value):
    name = path[-1]
    with pytest.raises(InputError, match=rf"{name} is {value!r}; expected a (whole )?number"):
        resolve.resolve(replaced(RECIPES[0], path, value))


def test_the_tokens_of_a_batch_fit_an_array():
    with pytest.raises(InputError, match="batch 100000000 x length 32 is more tokens than"):
        resolve.resolve(replaced(RECIPES[0], ("batch",), 100_000_000))


@pytest.mark.parametrize(
    "body, expected",
    [
        ("return {}", "get_config returned dict, expected a ConfigDict"),
        ("return 3", "get_config returned int, expected a ConfigDict"),
        ("exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("ml_collections.ConfigDict(dict(a=[1])).a = 3", "recipe.py: TypeError: "),
        ("return ml_collections.ConfigDict()", "config.accumulate is missing"),
    ],
)
def test_whatever_a_recipe_does_is_one_line(body, expected, tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(f"import ml_collections\n\ndef get_config(variant=''):\n    {body}\n")

    with pytest.raises(InputError, match=expected) as error:
        resolve.resolve(load.read(str(path), []))

    assert "\n" not in str(error.value)


def test_every_numeric_field_has_a_minimum():
    without = [
        f"{config.__class__.__name__}.{option.name}"
        for run in map(resolve.resolve, RECIPES)
        for config in _configs(run)
        for option in fields.options(type(config)).values()
        if option.type in (int, float) and option.minimum is option.above is None
    ]

    assert not without


def _configs(run):
    for value in (run, *run.stages):
        yield value
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            inner = inner.values() if isinstance(inner, dict) else [inner]
            yield from (each for each in inner if dataclasses.is_dataclass(each))
