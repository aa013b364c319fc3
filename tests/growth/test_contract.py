"""Tests of the contract of operators: sizes, claims, descriptions and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import tiny
from operator_cases import CASES, bind, table

from bertgrow.core import errors
from bertgrow.growth import registry

ALL = [(*names, *sizes) for names, cases in CASES.items() for sizes in cases]
FIRST = [(*names, *cases[0]) for names, cases in CASES.items()]
every_operator = pytest.mark.parametrize("dimension, name, fewer, more", FIRST)


def test_every_registered_operator_has_a_case():
    registered = {(d, name) for d, names in registry.OPERATORS.items() for name in names}

    assert registered == CASES.keys()


@every_operator
def test_equal_sizes_change_nothing(dimension, name, fewer, more):
    growth, old, _ = bind(dimension, name, fewer, fewer)
    params = tiny.params(old)

    assert growth.claim == "exact"
    assert growth.changes == {}
    for grow in (growth.weights, growth.gradients, growth.copies):
        grown, axes = grow(params, old.axes)
        assert axes == old.axes
        jax.tree.map(np.testing.assert_array_equal, grown, params)


@every_operator
def test_the_error_names_the_path_of_an_unknown_leaf(dimension, name, fewer, more):
    growth, old, _ = bind(dimension, name, fewer, more)
    params = tiny.params(old)
    stray = {**params["layers"], "gate": jnp.ones((2, 32))}
    named = {**old.axes["layers"], "gate": jax.P("layers", "colour")}
    short = {**old.axes["layers"], "gate": jax.P("layers")}

    for layers, names in [
        (stray, old.axes["layers"]),
        (stray, named),
        (stray, short),
        (params["layers"], named),
    ]:
        with pytest.raises(errors.InputError, match="layers/gate"):
            growth.weights({**params, "layers": layers}, {**old.axes, "layers": names})


@pytest.mark.parametrize("dimension, name, fewer, more", ALL)
def test_every_operator_describes_its_changes_and_its_source(dimension, name, fewer, more):
    growth, _, _ = bind(dimension, name, fewer, more)
    old, new = table(fewer), table(more)

    assert (growth.name, growth.dimension) == (name, dimension)
    assert small.sizes_after(growth, old) == new
    assert "(" in growth.source and "20" in growth.source
    for axis, (before, after) in growth.changes.items():
        assert f"{axis} {before} -> {after}" in growth.describe
