"""Tests of equal outputs with Hugging Face's MobileBERT for the same weights."""

import hf_mobilebert as hf
import jax
import numpy as np
import pytest
import small_mobilebert as small

from mobilebert.models.mobilebert import network

SIZES = dict(vocab_size=60, width=32, table_width=12, body_width=16, num_heads=4, ffn_width=24)


def batch(*, length=20):
    """Three rows, two of them padded."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, SIZES["vocab_size"], (3, length))
    types = np.tile(np.arange(length) >= length // 2, (3, 1)).astype(np.int64)
    tokens[1, length - 4 :] = 0
    tokens[2, 3:] = 0
    return tokens, types


# Every wiring that Hugging Face has (not that of the teacher), each with both norms, and
# each other choice once.
@pytest.mark.parametrize(
    "fields",
    [
        dict(attention_input="shared", num_ffns=3),
        dict(attention_input="shared", norm="layer", activation="gelu_tanh", num_layers=2),
        dict(attention_input="bottleneck", num_ffns=2, activation="gelu"),
        dict(attention_input="bottleneck", num_ffns=1, norm="layer", pooler=True),
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_outputs_equal_hugging_face(fields):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    config, (tokens, types) = small.config(**{**SIZES, **fields}), batch()

    weights, expected = hf.reference(config, tokens, types)
    everywhere = np.tile(np.arange(tokens.shape[1]), (len(tokens), 1))
    inputs = {"tokens": tokens, "types": types, "positions": everywhere}
    actual_outputs = jax.jit(network(config).apply)(hf.params(weights, config), inputs)

    real = tokens != 0
    for name, reference in expected.items():
        actual = actual_outputs[name]
        if name != "nsp_logits":
            # Padding reads padding; what stands there is nobody's business.
            actual, reference = actual[..., real, :], reference[..., real, :]
        # Relative 1e-4; sums of products near zero keep the error of their terms, near 1.
        np.testing.assert_allclose(actual, reference, rtol=1e-4, atol=1e-5)
