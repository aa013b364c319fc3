"""Tests of growing teacher and students with the operators of BERT, and of their plans."""

import jax
import numpy as np
import pytest
import small_mobilebert as small
import tiny

from bertgrow.core import errors, losses
from bertgrow.growth import registry
from bertgrow.objectives import masked_lm, transition
from bertgrow.planning import calibration, estimate
from bertgrow.recipes import build as recipe
from bertgrow.recipes import resolve
from bertgrow.recipes.schema import StageConfig
from mobilebert.family import mobilebert
from mobilebert.models import presets
from mobilebert.models.mobilebert import network


def stage(model, *, length=16):
    return StageConfig(
        name="0", steps=1, batch=4, length=length, model=model, start=0,
        optimizer={}, schedule={},
    )  # fmt: skip


def certified(old, new):
    """The rows of a growth's certificate, as a run writes it."""
    net, params = small.built(old.model)
    vocab = calibration.vocabulary(old.model.vocab_size)
    task = masked_lm.masked_lm(network(old.model), vocab=vocab, rate=0.15, max_predictions=4)
    operators = transition.growths(mobilebert, old, new, seed=0)
    batch = calibration.random_batch(old.batch, old.length, vocab.size)
    certificate = transition.certify(
        mobilebert, operators, params, net.axes, old, new, task, batch
    )
    return certificate["rows"]


@pytest.mark.parametrize("form", ["student", pytest.param("teacher", marks=pytest.mark.slow)])
def test_undoing_ffn_sharing_is_exact_and_depth_stacks(form):
    old = stage(small.form(form, ffn_share=2), length=8)
    new = stage(small.form(form, num_layers=5))

    wide, deep, longer = certified(old, new)

    assert [wide["operator"], deep["operator"]] == ["uneven", "stack"]
    assert wide["holds"]
    assert wide["parameters_after"] > wide["parameters_before"]
    assert deep["max_logit_change"] > 0.01 * deep["logit_scale"]
    assert longer["sizes"] == {"length": [8, 16]}
    assert longer["holds"]


@pytest.mark.slow
def test_gradients_of_stacked_ffns_grow_by_the_dual():
    old, new = small.config(ffn_share=2), small.config()
    net, params = small.built(old)
    (growth,) = registry.between(mobilebert.sizes(old), mobilebert.sizes(new))
    inputs = tiny.inputs()

    def gradients(config, params):
        def loss(params):
            logits = network(config).apply(params, inputs)["mlm_logits"]
            return losses.cross_entropy(logits, inputs["targets"], inputs["weights"])

        return jax.jit(jax.grad(loss))(params)

    grown, _ = growth.weights(params, net.axes)
    expected, _ = growth.gradients(gradients(old, params), net.axes)

    # Twice as many terms in each sum; the gradients reach 10.
    actual = gradients(new, grown)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for leaf, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "change, axis",
    [(dict(body_width=32), "body"), (dict(num_ffns=3), "ffn"), (dict(table_width=9), "extra")],
)
def test_what_no_operator_grows_is_refused(change, axis):
    old, new = stage(small.config()), stage(small.config(**change))

    with pytest.raises(errors.InputError, match=f"{axis} changes"):
        transition.growths(mobilebert, old, new, seed=0)


def test_a_plan_tells_what_growing_the_teacher_takes():
    config = recipe.pretraining()
    model = presets.ib_bert_large(dtype="float32", num_layers=4)
    config.model = recipe.ConfigDict(dict(family="mobilebert", **model))
    config.data.rows = "pairs"
    config.stages = recipe.stages(
        dict(steps=10, num_layers=2, ffn_share=2, length=128), dict(steps=10)
    )

    plan = estimate.make(resolve.resolve(config))

    first, last = plan["stages"]
    assert [first[name] for name in ("layers", "width", "heads", "ffn_width", "pool")] == [
        2, 512, 4, 2048, 1,
    ]  # fmt: skip
    assert [each["operator"] for each in last["growth"]] == ["uneven", "stack", "lengthen"]
    # Embeddings, four blocks and the pooler, and the two heads.
    assert last["parameters"] == dict(
        encoder=4_368_128 + 4 * 12_076_544 + 262_656, heads=11_720_448 + 263_680 + 30_522 + 1026
    )
    assert last["memory"]["total"] > first["memory"]["total"]
