"""Tests of random keys: one per purpose, all different."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny

from bertgrow.core import keys
from bertgrow.core.types import Network
from bertgrow.data.sequences import masking
from bertgrow.objectives import masked_lm
from bertgrow.planning import calibration
from bertgrow.train import loop


def test_keys_of_different_purposes_differ_for_equal_numbers():
    root = jax.random.key(0)

    derived = [
        jax.random.key_data(keys.derive(root, purpose, *numbers)).tobytes()
        for purpose in keys.Purpose
        for numbers in [(), (0,), (1,), (0, 1), (1, 0), (1, 1)]
    ]

    assert len(set(derived)) == len(derived) == 6 * len(keys.Purpose)


def test_the_key_of_a_sequence_does_not_depend_on_its_place():
    root, ids = jax.random.key(0), np.array([[1, 2], [2, 1], [1, 1]], np.uint32)

    forwards, backwards = (
        jax.random.key_data(keys.of_sequences(root, keys.Purpose.DROPOUT, 7, ids=some))
        for some in (ids, ids[::-1])
    )

    np.testing.assert_array_equal(forwards, backwards[::-1])
    assert len(np.unique(forwards, axis=0)) == 3
    expected = keys.derive(root, keys.Purpose.DROPOUT, 7, 2, 1)
    np.testing.assert_array_equal(forwards[1], jax.random.key_data(expected))


def test_the_dropout_key_of_a_step_masks_no_held_out_sequence(monkeypatch):
    used = {}
    draw = masking.mask_tokens

    def mask_tokens(tokens, ids, key, **options):
        used["masks"] = key
        return draw(tokens, ids, key, **options)

    def apply(params, inputs, keys=None):
        used["dropout"] = keys
        return {"mlm_logits": jnp.zeros((*inputs["targets"].shape, 100)) + params}

    monkeypatch.setattr(masking, "mask_tokens", mask_tokens)
    network = Network(lambda key: jnp.zeros(()), apply, None)
    vocab = calibration.vocabulary(100)
    task = masked_lm.masked_lm(network, vocab=vocab, rate=0.15, max_predictions=4, seed=3)
    optimizer = optax.sgd(1.0)
    batch = {name: tiny.inputs()[name] for name in ("tokens", "types")}
    batch["ids"] = np.zeros((3, 2), np.uint32)

    @jax.jit
    def keys_of(step):
        state = loop._new(task, optimizer)(jax.random.key(3))._replace(step=step)
        loop.make_step(task, optimizer)(state, (), batch)
        ids = jnp.stack([jnp.uint32(1), step.astype(jnp.uint32)])
        held_out = keys.of_sequence(used["masks"], ids)
        return jax.random.key_data(used["dropout"]), jax.random.key_data(held_out)

    for step in (0, 1, 7):
        dropout, held_out = keys_of(jnp.int32(step))
        assert held_out.tolist() not in dropout.tolist()
