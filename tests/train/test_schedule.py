"""Tests of learning-rate schedules at selected steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bertgrow.train import schedules


def values(rate, *steps):
    return [float(rate(jnp.int32(step))) for step in steps]


def test_default_is_one_line_over_all_stages_with_a_ramp_in_each():
    second = schedules.default(peak=1.0, total=100, start=40, warmup=4)

    # The update that makes step 40 into 41 is the first of four: (1 - 0.41) / 4.
    expected = [0.59 / 4, 0.58 / 2, 0.57 * 3 / 4, 0.56, 0.55]
    np.testing.assert_allclose(values(second, 40, 41, 42, 43, 44), expected, rtol=1e-6)


def test_stages_without_warm_up_join_into_one_line():
    first = schedules.default(peak=2.0, total=10)
    second = schedules.default(peak=2.0, total=10, start=5)

    np.testing.assert_allclose(values(first, 5, 6), values(second, 5, 6))
    np.testing.assert_allclose(values(first, 4, 5), [1.0, 0.8], rtol=1e-6)


def test_published_restarts_at_every_stage_and_never_quite_reaches_its_peak():
    rate = schedules.published(peak=1.0, end=0.0, decay_steps=100, warmup=10, start=200)

    # Warm-up aims at the decay curve's value after ten steps, 0.9.
    expected = [0.09, 0.45, 0.9, 0.89, 0.5, 0.0, 0.0]
    np.testing.assert_allclose(
        values(rate, 200, 204, 209, 210, 249, 299, 400), expected, rtol=1e-5, atol=1e-7
    )


def test_published_decays_to_its_end_and_stays_there():
    rate = schedules.published(peak=1e-3, end=1e-4, decay_steps=10, warmup=0)

    np.testing.assert_allclose(values(rate, 4, 9, 50), [5.5e-4, 1e-4, 1e-4], rtol=1e-5)


def test_wsd_is_flat_between_warm_up_and_decay():
    rate = schedules.wsd(peak=1.0, total=100, decay_steps=20, start=50, warmup=5)

    expected = [0.2, 1.0, 1.0, 0.95, 0.5, 0.0]
    np.testing.assert_allclose(values(rate, 50, 54, 79, 80, 89, 99), expected, rtol=1e-5)


def test_a_clock_set_back_places_a_stage_earlier_on_the_same_line():
    """A run of 100 steps set back by 20 at step 40: a line of 80 steps, read from 20 on."""
    first = schedules.default(peak=1.0, total=80)
    second = schedules.rewind(schedules.default(peak=1.0, total=80, start=20, warmup=4), 20)

    np.testing.assert_allclose(values(first, 39), [40 / 80], rtol=1e-6)
    expected = [59 / 80 / 4, 56 / 80, 1 / 80, 0]
    np.testing.assert_allclose(values(second, 40, 43, 98, 99), expected, rtol=1e-5)


RATES = {
    "default": schedules.default(peak=1.0, total=50, start=20, warmup=5),
    "published": schedules.published(peak=1.0, end=0, decay_steps=40, warmup=5, start=20),
    "wsd": schedules.wsd(peak=1.0, total=50, decay_steps=5, start=20, warmup=5),
}


@pytest.mark.parametrize("name", RATES)
def test_the_first_step_of_a_stage_moves(name):
    assert float(RATES[name](20)) > 0


@pytest.mark.parametrize("name", RATES)
def test_rates_are_the_same_when_traced(name):
    steps = jnp.arange(20, 50)

    traced = jax.jit(jax.vmap(RATES[name]))(steps)

    np.testing.assert_allclose(
        traced, values(RATES[name], *range(20, 50)), rtol=1e-6, atol=1e-9
    )


def test_only_new_units_warm_up_again():
    factor = schedules.rewarm([False, True], start=10, warmup=4)

    assert [factor(step).tolist() for step in (10, 11, 13, 20)] == [
        [1, 0.25], [1, 0.5], [1, 1], [1, 1],
    ]  # fmt: skip
