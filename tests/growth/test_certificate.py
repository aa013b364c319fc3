"""Tests of certificates: claims, measured values and broken claims."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small

from bertgrow.core import errors, tree, types
from bertgrow.growth import certificate, registry, train_state

OLD = {**small.sizes(pool=2), "length": 16}
ADAM = optax.adam(1e-2)
TWICE = np.arange(128) // 2  # the old unit of each of 128 copies
NEW = {**small.sizes(num_layers=4, ffn_width=128), "length": 16}


def evaluation(**fields):
    """A function `params -> (logits, loss)` on the fixed batch."""
    net, inputs = small.network(**fields), small.batch()

    return lambda params: small.measure(net.apply, params, inputs)


@functools.cache
def compound():
    """The certificate of a growth in all three dimensions at once."""
    net = small.network(pool=2)
    params = small.trained(net)
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


def test_a_row_holds_what_was_measured():
    wide, deep, whole = compound()["rows"]

    assert wide["max_logit_change"] < 1e-5 * wide["logit_scale"]
    assert deep["max_logit_change"] > 0.01 * deep["logit_scale"]
    assert wide["loss_after"] == deep["loss_before"]
    assert deep["loss_change"] == deep["loss_after"] - deep["loss_before"]
    assert whole["parameters_before"] == whole["parameters_after"] == deep["parameters_after"]
    large = small.network(num_layers=4, ffn_width=128)
    count = tree.count(jax.eval_shape(large.init, jax.random.key(0)))
    assert whole["parameters_after"] == count


def test_the_loss_is_told_in_both_precisions():
    rows, loss = compound()["rows"], compound()["loss"]

    assert loss["float32"] == [rows[0]["loss_before"], rows[-1]["loss_after"]]
    assert loss["as_trained"] == [rows[0]["parameters_before"], rows[-1]["parameters_after"]]


def test_ties_of_a_later_step_stand_beside_those_of_the_transition():
    net = small.network(ffn_width=128, num_layers=4)

    wide, deep, _ = certificate.later(compound(), small.trained(net), net.axes, 107)["rows"]

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

    (row,) = certificate.certificate(growths, small.trained(net), net.axes, evaluations)["rows"]

    assert row["dropped"] == ["resolution/bias", "resolution/kernel"]
    assert row["parameters_before"] - row["parameters_after"] == 2 * 32 * 32 + 32


def wide(break_it=lambda params: params):
    """The certificate of one widening, by an operator that may have a fault."""
    net = small.network()
    (growth,) = registry.between(small.sizes(), small.sizes(ffn_width=128))

    def weights(params, axes):
        grown, axes = growth.weights(params, axes)
        return break_it(grown), axes

    evaluations = [evaluation(), evaluation(ffn_width=128)]
    faulty = growth._replace(weights=weights)
    return certificate.certificate([faulty], small.trained(net), net.axes, evaluations)


def test_a_true_claim_is_not_broken_and_no_claim_cannot_be():
    assert certificate.broken(wide()) == []
    assert certificate.broken(compound()) == []


@pytest.mark.parametrize("factor", [1.01, np.nan])
def test_a_false_claim_is_found(factor):
    """One kernel of one layer off by a hundredth; or not a number at all."""

    def break_it(params):
        down = params["layers"]["down"]
        kernel = jnp.asarray(down["kernel"]).at[1].multiply(factor)
        layers = {**params["layers"], "down": {**down, "kernel": kernel}}
        return {**params, "layers": layers}

    (row,) = certificate.broken(wide(break_it))

    assert (row["operator"], row["claim"], row["holds"]) == ("uneven", "exact", False)
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    "batch, devices, rows",
    [(512, 1, 16), (512, 3, 15), (512, 4, 16), (512, 9, 9), (64, 32, 32), (4, 1, 4), (8, 8, 8)],
)
def test_it_reads_few_rows_that_the_devices_divide(batch, devices, rows):
    assert certificate.num_rows(batch, devices) == rows


def test_only_scalars_reach_the_host(monkeypatch):
    read, array = [], type(jnp.zeros(()))
    to_host = array.__array__

    def note(self, *args, **options):
        read.append(self.size)
        return to_host(self, *args, **options)

    cost = wide()  # what the test itself needs is on the host
    monkeypatch.setattr(array, "__array__", note)

    assert wide() == cost
    assert max(read, default=0) <= 1


def test_logits_at_other_targets_are_not_compared():
    net = small.network()
    growths = registry.between(small.sizes(), small.sizes(ffn_width=128))
    fewer = [lambda params: (np.zeros((3, 4, 5)), 0.0), lambda params: (np.zeros((3, 5)), 0.0)]

    with pytest.raises(errors.InputError, match="same targets"):
        certificate.certificate(growths, small.trained(net), net.axes, fewer)
    with pytest.raises(errors.InputError, match="1 operators and 1 evaluations"):
        certificate.certificate(growths, small.trained(net), net.axes, fewer[:1])


def trained_on(rule):
    """The widened model after 100 deterministic steps of Adam, its axes, and the losses."""
    net = small.network()
    (growth,) = registry.between(small.sizes(), small.sizes(ffn_width=128), width=rule)
    params, axes = small.grow(growth.weights, small.trained(net), net.axes)
    params, losses = train(params, ADAM.init(params))
    return params, axes, losses


@jax.jit
def train(params, opt_state):
    inputs = small.batch()
    loss = functools.partial(small.loss, small.network(ffn_width=128).apply)

    def step(state, _):
        params, opt_state = state
        value, gradients = jax.value_and_grad(loss)(params, inputs)
        updates, opt_state = ADAM.update(gradients, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), losses = jax.lax.scan(step, (params, opt_state), length=100)
    return params, losses


@pytest.mark.slow
def test_equal_replicas_stay_tied_for_ever():
    """Whatever the optimiser does: to equal weights in and out belong equal gradients."""
    params, axes, losses = trained_on("equal")

    ties = certificate.ties(params, axes, "mlp", TWICE)

    assert losses[-1] < losses[0] / 2
    assert ties["units"] == 1
    assert set(ties.values()) == {1.0}


@pytest.mark.slow
def test_uneven_replicas_part():
    params, axes, losses = trained_on("uneven")

    ties = certificate.ties(params, axes, "mlp", TWICE)

    assert losses[-1] < losses[0] / 2
    assert ties["units"] == 0
    assert ties["layers/up/kernel"] == 0


@pytest.mark.slow
def test_equal_replicas_part_where_only_the_new_ones_lose_their_moments():
    """SPARKLING: the weights are those of equal shares, and the optimiser tells them apart."""
    net = small.network()
    growths = registry.between(small.sizes(), small.sizes(ffn_width=128), width="sparkling")
    params = small.trained(net)
    adam, rest = ADAM.init(params)
    adam = adam._replace(count=jnp.int32(5), mu=params, nu=jax.tree.map(np.square, params))
    before = types.TrainState(jnp.int32(5), params, (adam, rest), jax.random.key(0))
    grown = train_state.grow_state(
        before, growths, net.axes, optimizer_init=ADAM.init, moments="asymmetric"
    )

    after, losses = train(grown.params, grown.opt_state)

    tied, parted = (
        certificate.ties(p, net.axes, "mlp", TWICE)["units"] for p in (grown.params, after)
    )
    assert (tied, parted) == (1, 0)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("axis, fields", [("heads", {"heads": 6})])
def test_ties_are_counted_at_any_ratio(axis, fields):
    net, old = small.network(), small.sizes()
    new = {**old, **fields}
    (growth,) = registry.between(old, new, width="equal")
    params, axes = small.grow(growth.weights, small.trained(net), net.axes)
    name = {"heads": "query", "mlp": "up"}[axis]
    params["layers"][name]["bias"] = (
        params["layers"][name]["bias"]
        .at[0]
        .add(jnp.arange(new[axis]).reshape((-1, 1) if axis == "heads" else -1))
    )

    ties = certificate.ties(params, axes, axis, growth.sources[axis])

    assert ties[f"layers/{name}/bias"] == ties["units"] == 0.5  # layer 1 is still tied
    assert ties[f"layers/{name}/kernel"] == 1


@pytest.mark.slow
def test_ties_along_the_residual_stream_count_all_layers_at_once():
    net, old = small.network(), small.sizes()
    growths = registry.between(old, {**old, "embed": 64, "heads": 8}, width="equal")
    grow = functools.partial(registry.apply, growths)
    params, axes = small.grow(grow, small.trained(net), net.axes)

    before = certificate.ties(params, axes, "embed", growths[0].sources["embed"])["units"]
    words = params["embeddings"]["words"]
    params["embeddings"]["words"] = words.at[0, :16].add(jnp.arange(16.0))

    assert before == 1
    assert certificate.ties(params, axes, "embed", growths[0].sources["embed"])["units"] == 0.75


def test_ties_need_an_axis_that_grew():
    net = small.network()

    with pytest.raises(errors.InputError, match="name a grown axis"):
        certificate.ties(small.trained(net), net.axes, "body", TWICE)
    with pytest.raises(errors.InputError, match="no unit has a copy"):
        certificate.ties(small.trained(net), net.axes, "mlp", np.arange(64))
