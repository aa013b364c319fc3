"""Tests of equal logits with Hugging Face's BERT for the same weights."""

import hf
import jax
import make_golden
import numpy as np
import pytest

from bertgrow.models import encoder
from bertgrow.models.bert import BertConfig, network

# Float32 sums in another order; torch and XLA differ by about 2e-6 at these sizes.
TOLERANCE = 2e-5


def assert_logits_equal(config, params, tokens, types, mlm, nsp):
    positions = np.tile(np.arange(tokens.shape[1]), (len(tokens), 1))
    inputs = {"tokens": tokens, "types": types, "positions": positions}

    outputs = jax.jit(network(config).apply)(params, inputs)

    tokens_mask = tokens != 0
    np.testing.assert_allclose(
        outputs["mlm_logits"][tokens_mask], mlm[tokens_mask], atol=TOLERANCE, rtol=0
    )
    np.testing.assert_allclose(outputs["nsp_logits"], nsp, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("activation", make_golden.ACTIVATIONS)
def test_logits_equal_the_stored_reference(activation):
    golden, weights = stored("")
    config = BertConfig(
        **make_golden.CONFIG, activation=activation, dtype="float32", next_sentence=True
    )

    assert_logits_equal(
        config,
        hf.params(weights, config.num_heads),
        golden["tokens"],
        golden["types"],
        golden[f"{activation}/mlm"],
        golden[f"{activation}/nsp"],
    )


def stored(form):
    """The file, and the weights of one of its models by Hugging Face's names."""
    golden, start = np.load(make_golden.GOLDEN), f"{form}weights/"
    weights = {name: golden[name] for name in golden if name.startswith(start)}
    return golden, {name.removeprefix(start): weight for name, weight in weights.items()}


def test_pre_norm_logits_equal_the_stored_reference():
    golden, weights = stored("pre/")
    config = BertConfig(
        **make_golden.CONFIG, norm_order="pre", dtype="float32", next_sentence=True
    )

    assert_logits_equal(
        config,
        hf.params(weights, config.num_heads),
        golden["tokens"],
        golden["types"],
        golden["pre/mlm"],
        golden["pre/nsp"],
    )


@pytest.mark.slow  # imports torch; the tests above compare with stored outputs
@pytest.mark.parametrize(
    "activation, norm_order", [("gelu", "post"), ("relu", "post"), ("gelu", "pre")]
)
def test_logits_equal_hugging_face(activation, norm_order):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    sizes = dict(vocab_size=500, num_layers=3, width=64, num_heads=4, ffn_width=128)
    sizes["max_length"] = 40
    tokens, types = make_golden.batch(vocab_size=500, length=40)

    weights, mlm, nsp = make_golden.reference(
        sizes, activation, tokens, types, seed=1, norm_order=norm_order
    )

    sizes |= dict(
        activation=activation, norm_order=norm_order, dtype="float32", next_sentence=True
    )
    config = BertConfig(**sizes)
    assert_logits_equal(config, hf.params(weights, config.num_heads), tokens, types, mlm, nsp)


def test_trained_layers_give_their_published_output(real_data):
    folder = real_data.parent / "weights" / "bert_tiny_sst2_encoder"
    if not folder.is_dir():
        pytest.skip("the trained encoder is absent")
    state = dict(np.load(folder / "encoder.npz"))
    golden = np.load(folder / "golden_nuovo.npz")
    config = BertConfig(num_layers=2, width=128, num_heads=2, ffn_width=512, dtype="float32")
    hidden = golden["embedding_output"][None]
    mask = np.ones(hidden.shape[:2], bool)

    weights = hf.encoder(state, config.num_heads)
    last, *_ = encoder.run(weights, hidden, mask, config=config)

    # The reference is float64; hidden values reach 10, where float32 resolves 1e-6.
    expected = golden["exact_ln_last_hidden_float64"]
    np.testing.assert_allclose(last[0], expected, atol=5e-5, rtol=0)
