"""Tests of a loaded model: masks filled, texts embedded and scored, one compile a bucket."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pretrained_models as small
import pytest

from bertgrow.core.errors import InputError
from bertgrow.inference import batches, embed, model, texts
from bertgrow.interop import hugging_face, native

TEXTS = ["the file", "a list of the file returns a name", "paris", "the capital is " * 5]


@pytest.fixture(scope="module", params=["bert", "mobilebert"])
def loaded(request):
    return model.of(small.pretrained(request.param))


def by_hand(loaded, text):
    """Hidden states and logits of one text, unpadded or in its bucket, by `apply` alone."""
    (row,) = texts.encode(loaded.tokenizer, [text], masks=True)
    (batch,) = batches.make([row], loaded.config, size=1)
    positions = np.arange(len(row), dtype=np.int32)[None]
    outputs = loaded.apply(loaded.params, batch.inputs | dict(positions=positions))
    return row, outputs["hidden"][0, : len(row)], outputs["mlm_logits"][0]


def test_a_mask_is_filled_with_the_most_probable_tokens(loaded):
    text = "the [MASK] of [MASK] is a file"
    row, _, logits = by_hand(loaded, text)
    places = np.flatnonzero(row == loaded.tokenizer.vocab.mask_id)

    (actual,) = loaded.fill_mask([text], top_k=3)

    assert len(actual) == 2
    for place, best in zip(places, actual, strict=True):
        expected = np.asarray(jax.nn.softmax(logits[place]))
        order = np.argsort(-expected)[:3]
        assert [each.id for each in best] == order.tolist()
        assert [each.token for each in best] == [small.TOKENS[number] for number in order]
        np.testing.assert_allclose(
            [each.probability for each in best], expected[order], rtol=1e-5
        )


def test_texts_are_split_at_the_mask():
    tokenizer = small.tokenizer()

    (row,) = texts.encode(tokenizer, ["the[MASK][MASK]file"], masks=True)

    tokens = [tokenizer.tokens[number] for number in row]
    assert tokens == ["[CLS]", "the", "[MASK]", "[MASK]", "file", "[SEP]"]


def test_outputs_of_a_text_do_not_depend_on_the_others(loaded):
    sentences = [f"{text} [MASK]" for text in TEXTS]

    together = loaded.fill_mask(sentences, top_k=2)
    vectors = loaded.embed(TEXTS)

    for number, text in enumerate(TEXTS):
        (alone,) = loaded.fill_mask([sentences[number]], top_k=2)
        assert [b.token for b in alone[0]] == [b.token for b in together[number][0]]
        np.testing.assert_allclose(loaded.embed([text])[0], vectors[number], atol=1e-5)


@pytest.mark.parametrize("pooling", embed.POOLINGS)
def test_a_vector_is_pooled_from_the_hidden_states_of_real_tokens(loaded, pooling):
    _, hidden, _ = by_hand(loaded, TEXTS[1])
    expected = dict(mean=hidden.mean(axis=0), max=hidden.max(axis=0), cls=hidden[0])[pooling]

    actual = loaded.embed([TEXTS[1]], pooling=pooling)

    assert actual.shape == (1, 16) and actual.dtype == np.float32
    np.testing.assert_allclose(actual[0], expected, atol=1e-5)


def test_long_texts_are_cut_for_embedding_and_keep_their_last_token(loaded):
    long = "the file " * 40

    vectors = loaded.embed([long, long + "paris"])

    np.testing.assert_array_equal(*vectors)


def test_the_score_is_the_mean_loss_of_each_token_masked_alone(loaded):
    text = "the capital of france"
    words = text.split()
    losses = []
    for place, word in enumerate(words):
        hidden = " ".join([*words[:place], "[MASK]", *words[place + 1 :]])
        _, _, logits = by_hand(loaded, hidden)
        losses.append(-jax.nn.log_softmax(logits[place + 1])[small.TOKENS.index(word)])

    (actual,) = loaded.score([text])

    assert actual.tokens == 4
    np.testing.assert_allclose(actual.loss, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(actual.perplexity, np.exp(np.mean(losses)), rtol=1e-5)


def test_a_long_text_is_scored_in_parts(loaded):
    first, second = "the file " * 15, "a list of paris"  # 30 tokens fill all 32 positions

    whole, *parts = loaded.score([first + second, first, second])

    assert whole.tokens == 34
    expected = sum(part.loss * part.tokens for part in parts)
    np.testing.assert_allclose(whole.loss * 34, expected, rtol=1e-5)


def test_a_bucket_compiles_once():
    traces = []
    network = small.pretrained("bert").network

    def apply(params, inputs, keys=None):
        traces.append(inputs["tokens"].shape)
        return network.apply(params, inputs, keys)

    loaded = model.of(small.pretrained("bert"))
    loaded = dataclasses.replace(loaded, network=network._replace(apply=apply))
    sentences = ["the file"] * 70 + ["the capital is " * 5] * 3  # two lengths, two full batches

    loaded.embed(sentences)
    loaded.embed(sentences)
    loaded.embed(["the file"] * 40)

    assert sorted(traces) == [(4, 32), (32, 16)]


@pytest.mark.parametrize("change", [dict(pool=3), dict(pool=2, pool_mode="concat")])
def test_a_pooled_stage_is_used_as_what_it_is(change):
    loaded = model.of(small.of(dataclasses.replace(small.CONFIGS["bert"], **change)))

    (masks,) = loaded.fill_mask(["the [MASK] of [MASK] is [MASK]"], top_k=1)
    vectors = loaded.embed(TEXTS)

    assert len(masks) == 3
    assert np.isfinite(vectors).all() and vectors.shape == (4, 16)
    (alone,) = loaded.embed(TEXTS[1:2])
    np.testing.assert_allclose(alone, vectors[1], atol=1e-5)


def test_a_mask_given_with_a_batch_counts_and_not_the_padding_token(loaded):
    """A foreign batch pads with any token, on any side."""
    batch = {name: array[:1] for name, array in small.batch().items()}
    changed = dict(batch, tokens=batch["tokens"].copy(), mask=batch["mask"].copy())
    changed["mask"][0, 8:] = False
    changed["tokens"][0, 9:] = 7  # the trigram of position 8 reads position 9 at most
    other = dict(changed, tokens=changed["tokens"].copy())
    other["tokens"][0, 9:] = 11

    first, second = (loaded.apply(loaded.params, each)["hidden"] for each in (changed, other))

    np.testing.assert_allclose(first[0, :8], second[0, :8], atol=1e-6)
    unmasked = loaded.apply(loaded.params, dict(other, mask=np.ones_like(other["mask"])))
    assert jnp.abs(unmasked["hidden"][0, :8] - second[0, :8]).max() > 1e-3


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda m: m.fill_mask(["the file"]), r"text 0 has no \[MASK\]"),
        (lambda m: m.fill_mask("the [MASK]"), "texts is str; expected a list of str"),
        (lambda m: m.fill_mask(["[MASK]"], top_k=0), "top_k is 0; expected 1 to 40"),
        (lambda m: m.fill_mask(["the " * 40 + "[MASK]"]), "has 43 tokens .* 32 positions"),
        (lambda m: m.embed(["the"], pooling="sum"), "pooling is 'sum'"),
        (lambda m: m.score([" "]), "text 0 has no tokens"),
    ],
)
def test_bad_input_is_answered(loaded, call, said):
    with pytest.raises(InputError, match=said):
        call(loaded)


def test_a_model_without_a_trained_head_fills_no_mask():
    loaded = model.of(small.pretrained("bert")._replace(fresh=("mlm",)))

    with pytest.raises(InputError, match="came without a masked-token head"):
        loaded.fill_mask(["the [MASK]"])


@pytest.mark.parametrize("name", ["bert", "teacher"])
@pytest.mark.parametrize("write", [hugging_face.write, native.write])
def test_a_folder_is_loaded_by_what_it_holds(name, write, tmp_path):
    if (name, write) == ("teacher", hugging_face.write):
        pytest.skip("Hugging Face has no class for it")
    pretrained = small.pretrained(name)
    write(tmp_path, pretrained)

    actual = model.load(tmp_path)

    np.testing.assert_allclose(
        actual.embed(TEXTS), model.of(pretrained).embed(TEXTS), atol=1e-6
    )
    with pytest.raises(InputError, match="no working directory, so it has no step 3"):
        model.load(tmp_path, step=3)


def test_a_directory_that_is_no_model_is_answered_with_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match="looked for checkpoints/.*config.json"):
        model.load(tmp_path)


def test_our_own_layout_is_checked(tmp_path):
    native.write(tmp_path, small.pretrained("bert"))
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"width": 16', '"width": 18'))

    with pytest.raises(InputError, match="has shape .* is expected"):
        model.load(tmp_path)
