"""Tests of certificates: claims, measured values and broken claims."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import tiny

from bertgrow.core import errors, tree
from bertgrow.growth import certificate, registry

OLD = {**small.sizes(pool=2), "length": 16}
NEW = {**small.sizes(num_layers=4, ffn_width=128), "length": 16}


def evaluation(**fields):
    """A function `params -> (logits, loss)` on the fixed batch."""
    net, inputs = small.network(**fields), small.batch()

    return lambda params: small.measure(net.apply, params, inputs)


@functools.cache
def compound():
    """The certificate of a growth in all three dimensions at once."""
    net = small.network(pool=2)
    params = tiny.params(net)
    evaluations = [
        evaluation(pool=2),
        evaluation(pool=2, ffn_width=128),
        evaluation(pool=2, ffn_width=128, num_layers=4),
        evaluation(ffn_width=128, num_layers=4),
    ]
    growths = registry.between(OLD, NEW)
    cost = {"seconds": 0.5, "peak_bytes": 10, "peak_source": "compiler"}
    rounded = [lambda params: (None, tree.count(params))] * 2
    return certificate.certificate(
        growths, params, net.axes, evaluations, moments="copy", cost=cost, trained=rounded
    )


def test_every_operator_has_a_row_in_order():
    rows = compound()["rows"]

    assert [row["operator"] for row in rows] == ["uneven", "stack", "unpool"]
    assert [row["dimension"] for row in rows] == ["width", "depth", "length"]
    assert [row["claim"] for row in rows] == ["exact", "no", "no"]
    assert [row["sizes"] for row in rows] == [
        {"mlp": [64, 128]},
        {"layers": [2, 4]},
        {"pool": [2, 1]},
    ]
    assert [row["holds"] for row in rows] == [True, None, None]
    assert {row["moments"] for row in rows} == {"copy"}


def test_rows_hold_the_measured_changes():
    wide, deep, unpooled = compound()["rows"]

    assert wide["max_logit_change"] < 1e-5 * wide["logit_scale"]
    assert deep["max_logit_change"] > 0.01 * deep["logit_scale"]
    assert wide["loss_after"] == deep["loss_before"]
    assert deep["loss_change"] == deep["loss_after"] - deep["loss_before"]
    assert (
        unpooled["parameters_before"]
        == unpooled["parameters_after"]
        == deep["parameters_after"]
    )
    large = small.network(num_layers=4, ffn_width=128)
    count = tree.count(jax.eval_shape(large.init, jax.random.key(0)))
    assert unpooled["parameters_after"] == count


def test_the_loss_is_recorded_in_both_precisions():
    rows, loss = compound()["rows"], compound()["loss"]

    assert loss["float32"] == [rows[0]["loss_before"], rows[-1]["loss_after"]]
    assert loss["as_trained"] == [rows[0]["parameters_before"], rows[-1]["parameters_after"]]


def test_ties_of_a_later_step_are_added_to_those_of_the_transition():
    net = small.network(ffn_width=128, num_layers=4)

    wide, deep, _ = certificate.later(compound(), tiny.params(net), net.axes, 107)["rows"]

    assert wide["ties"]["mlp"]["layers/up/kernel"] == 1
    assert wide["ties_later"]["step"] == 107
    assert wide["ties_later"]["mlp"]["layers/up/kernel"] == 0
    assert "ties_later" not in deep
    assert "ties_later" not in compound()["rows"][0]


def test_a_certificate_is_json():
    assert json.loads(json.dumps(compound(), allow_nan=False)) == compound()
    assert compound()["cost"]["peak_source"] == "compiler"


def test_ties_at_the_transition_are_those_of_the_split_rule():
    ties = compound()["rows"][0]["ties"]["mlp"]

    assert ties["layers/up/kernel"] == 1
    assert ties["layers/down/kernel"] == 0
    assert ties["units"] == 0


@pytest.mark.slow
def test_a_dropped_weight_is_named():
    net = small.network(pool=2, pool_mode="concat")
    growths = registry.between(small.sizes(pool=2), small.sizes())
    evaluations = [evaluation(pool=2, pool_mode="concat"), evaluation()]

    (row,) = certificate.certificate(growths, tiny.params(net), net.axes, evaluations)["rows"]

    assert row["dropped"] == ["resolution/bias", "resolution/kernel"]
    assert row["parameters_before"] - row["parameters_after"] == 2 * 32 * 32 + 32


@functools.cache
def wide(change=lambda params: params):
    """The certificate of one widening; `change` is a fault of the operator."""
    net = small.network()
    (growth,) = registry.between(small.sizes(), small.sizes(ffn_width=128))

    def weights(params, axes):
        grown, axes = growth.weights(params, axes)
        return change(grown), axes

    evaluations = [evaluation(), evaluation(ffn_width=128)]
    faulty = growth._replace(weights=weights)
    return certificate.certificate([faulty], tiny.params(net), net.axes, evaluations)


def test_true_claims_and_absent_claims_are_not_broken():
    assert certificate.broken(wide()) == []
    assert certificate.broken(compound()) == []


@pytest.mark.parametrize("factor", [1.01, np.nan])
def test_a_false_claim_is_found(factor):
    """One kernel of one layer is wrong by a hundredth, or not a number."""

    def change(params):
        down = params["layers"]["down"]
        kernel = jnp.asarray(down["kernel"]).at[1].multiply(factor)
        layers = {**params["layers"], "down": {**down, "kernel": kernel}}
        return {**params, "layers": layers}

    (row,) = certificate.broken(wide(change))

    assert (row["operator"], row["claim"], row["holds"]) == ("uneven", "exact", False)
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    "batch, devices, expected",
    [(512, 1, 16), (512, 3, 15), (512, 4, 16), (512, 9, 9), (64, 32, 32), (4, 1, 4), (8, 8, 8)],
)
def test_the_devices_divide_its_few_sequences(batch, devices, expected):
    assert certificate.num_sequences(batch, devices) == expected


def test_only_scalars_reach_the_host(monkeypatch):
    sizes, array = [], type(jnp.zeros(()))
    to_host = array.__array__

    def recorded(self, *args, **options):
        sizes.append(self.size)
        return to_host(self, *args, **options)

    expected = wide()  # the arrays of the test itself are on the host now
    monkeypatch.setattr(array, "__array__", recorded)

    assert wide.__wrapped__() == expected
    assert max(sizes, default=0) <= 1


def test_logits_at_other_targets_are_not_compared():
    net = small.network()
    growths = registry.between(small.sizes(), small.sizes(ffn_width=128))
    fewer = [lambda params: (np.zeros((3, 4, 5)), 0.0), lambda params: (np.zeros((3, 5)), 0.0)]

    with pytest.raises(errors.InputError, match="same targets"):
        certificate.certificate(growths, tiny.params(net), net.axes, fewer)
    with pytest.raises(errors.InputError, match="1 operators and 1 evaluations"):
        certificate.certificate(growths, tiny.params(net), net.axes, fewer[:1])
