"""Tests of masking: the right tokens and fractions, deterministic for a sequence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bertgrow.core import types
from bertgrow.data.sequences import masking

SIZE, LENGTH = 50, 64
SEQUENCES = 200  # mostly this number, because each other one is compiled again
PAD, UNK, CLS, SEP, MASK = range(5)
STARTS = np.arange(SIZE) < 35  # 35 to 49 continue a word
SPECIAL = np.arange(SIZE) < 5
VOCAB = types.Vocab(SIZE, PAD, UNK, CLS, SEP, MASK, STARTS, SPECIAL)


def make_sequences(number=SEQUENCES, *, real=LENGTH, seed=0, low=5):
    """[CLS], ordinary tokens, [SEP], padding from `real` on."""
    tokens = np.random.default_rng(seed).integers(low, SIZE, (number, LENGTH))
    tokens[:, 0], tokens[:, real - 1], tokens[:, real:] = CLS, SEP, PAD
    ids = np.stack([np.full(number, 7), np.arange(number)], axis=1)
    return tokens.astype(np.int32), ids.astype(np.uint32)


@functools.partial(jax.jit, static_argnames=("rate", "max_predictions", "whole_word", "show"))
def mask(tokens, ids, seed=0, rate=0.15, max_predictions=10, whole_word=False, show="80/10/10"):
    return masking.mask_tokens(
        tokens, ids, jax.random.key(seed), vocab=VOCAB, rate=rate,
        max_predictions=max_predictions, whole_word=whole_word, show=show,
    )  # fmt: skip


def arrays(outputs):
    return [np.asarray(array) for array in outputs]


@pytest.mark.parametrize("whole_word", [False, True])
@pytest.mark.parametrize("show", masking.SHOWS)
def test_the_outputs_are_sorted_padded_and_unchanged_elsewhere(whole_word, show):
    tokens, ids = make_sequences(real=40)

    inputs, positions, targets, weights = arrays(
        mask(tokens, ids, whole_word=whole_word, show=show)
    )

    assert [a.dtype for a in (inputs, positions, targets)] == [np.int32] * 3
    assert weights.dtype == np.float32
    assert positions.shape == targets.shape == weights.shape == (SEQUENCES, 10)
    assert (np.diff(positions, axis=1) >= 0).all()
    assert (np.diff(weights, axis=1) <= 0).all()  # padding predictions come last
    used = weights == 1
    for index in range(SEQUENCES):
        at = positions[index][used[index]]
        assert len(set(at)) == len(at)
        assert not SPECIAL[tokens[index][at]].any()
        assert (targets[index][used[index]] == tokens[index][at]).all()
        rest = np.setdiff1d(np.arange(LENGTH), at)
        assert (inputs[index][rest] == tokens[index][rest]).all()
    assert (targets[~used] == PAD).all()
    assert (positions[~used] == LENGTH - 1).all()


@pytest.mark.parametrize("rate", [0.15, 0.25, 0.02])
def test_each_sequence_masks_its_rounded_fraction_but_at_least_one(rate):
    counts = range(1, LENGTH - 1)
    tokens = np.concatenate([make_sequences(1, real=count + 2)[0] for count in counts])

    weights = arrays(mask(tokens, make_sequences(len(tokens))[1], rate=rate))[3]

    assert weights.sum(axis=1).tolist() == [min(10, max(1, round(rate * c))) for c in counts]


def test_a_sequence_without_candidates_has_no_masked_position():
    tokens, ids = make_sequences(real=2)
    tokens[1:] = PAD

    for whole_word in (False, True):
        inputs, _, _, weights = arrays(mask(tokens, ids, whole_word=whole_word))
        assert not weights.any()
        assert (inputs == tokens).all()


def test_more_predictions_than_positions_stay_unused():
    tokens, ids = make_sequences(3)
    weights = arrays(mask(tokens, ids, max_predictions=LENGTH + 20, rate=1.0))[3]
    assert (weights.sum(axis=1) == LENGTH - 2).all()


@pytest.mark.parametrize("whole_word", [False, True])
def test_of_the_chosen_tokens_80_10_10_percent_become_mask_random_and_themselves(whole_word):
    tokens, ids = make_sequences(4000)
    inputs, positions, targets, weights = arrays(mask(tokens, ids, whole_word=whole_word))
    used = weights == 1
    shown = np.take_along_axis(inputs, positions, axis=1)[used]
    targets = targets[used]

    # About 36,000 draws: one deviation of the fractions is 0.2 %.
    assert abs((shown == MASK).mean() - 0.8) < 0.01
    # One random token in 45 is the target itself.
    assert abs((shown == targets).mean() - (0.1 + 0.1 / 45)) < 0.01
    random = shown[(shown != MASK) & (shown != targets)]
    assert not SPECIAL[random].any()
    counts = np.bincount(random, minlength=SIZE)[5:]
    assert counts.min() > 0.5 * counts.mean() and counts.max() < 1.6 * counts.mean()


def test_every_candidate_is_equally_likely():
    tokens, ids = make_sequences(4000, real=40)
    _, positions, _, weights = arrays(mask(tokens, ids))
    counts = np.bincount(positions[weights == 1], minlength=LENGTH)[1:39]

    # 24,000 draws over 38 places: about 632 each, one deviation 25.
    assert counts.min() > 510 and counts.max() < 755


def test_masks_depend_only_on_the_ids_of_the_sequence():
    tokens, ids = make_sequences()
    all_masks = arrays(mask(tokens, ids))

    order = np.random.default_rng(1).permutation(SEQUENCES)
    some = arrays(mask(tokens[order], ids[order]))

    for one, other in zip(all_masks, some, strict=True):
        np.testing.assert_array_equal(one[order], other)


def test_other_ids_and_other_keys_bring_other_masks():
    tokens, ids = make_sequences()
    base = arrays(mask(tokens, ids))[1]

    assert (arrays(mask(tokens, ids, seed=1))[1] != base).any(axis=1).all()
    for column in (0, 1):
        other = ids.copy()
        other[:, column] += 100
        assert (arrays(mask(tokens, other))[1] != base).any(axis=1).all()


def test_the_choice_does_not_depend_on_show():
    tokens, ids = make_sequences()
    usual, masked = arrays(mask(tokens, ids)), arrays(mask(tokens, ids, show="mask"))

    for one, other in zip(usual[1:], masked[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    shown = np.take_along_axis(masked[0], masked[1], axis=1)
    assert (shown[masked[3] == 1] == MASK).all()


def test_whole_words_are_chosen_whole():
    tokens, ids = make_sequences(real=50)
    _, positions, _, weights = arrays(mask(tokens, ids, whole_word=True))

    expected_count = round(0.15 * 48)
    for index in range(SEQUENCES):
        chosen = set(positions[index][weights[index] == 1].tolist())
        assert len(chosen) <= expected_count
        for word in words(tokens[index]):
            assert not chosen & set(word) or chosen >= set(word)
    # Nearly all sequences reach the count.
    assert weights.sum(axis=1).mean() > 0.97 * expected_count


def words(tokens):
    result = []
    for place, token in enumerate(tokens):
        if SPECIAL[token]:
            continue
        if STARTS[token] or SPECIAL[tokens[place - 1]]:
            result.append([])
        result[-1].append(place)
    return result


def test_words_longer_than_the_remaining_count_are_skipped():
    # One word of eight tokens and four of one, two to choose: only the short ones fit.
    tokens = np.array([[CLS, 10, 40, 40, 40, 40, 40, 40, 40, 11, 12, 13, 14, SEP]], np.int32)
    tokens = np.repeat(np.pad(tokens, ((0, 0), (0, LENGTH - 14))), SEQUENCES, axis=0)
    _, ids = make_sequences()

    _, positions, _, weights = arrays(mask(tokens, ids, whole_word=True))

    assert (weights.sum(axis=1) == 2).all()
    assert positions[weights == 1].min() == 9


def test_a_batch_sharded_over_devices_gets_the_same_masks():
    tokens, ids = make_sequences()
    expected = arrays(mask(tokens, ids))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.P("data"))
    traces = []

    def step(tokens, ids):
        traces.append(1)
        return masking.mask_tokens(
            tokens, ids, jax.random.key(0), vocab=VOCAB, rate=0.15, max_predictions=10
        )

    step = jax.jit(step, in_shardings=sharding, out_shardings=sharding)
    for _ in range(2):
        outputs = step(jax.device_put(tokens, sharding), jax.device_put(ids, sharding))

    assert len(traces) == 1
    for one, other in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), other)


def test_masks_of_a_key_are_pinned():
    # Another choice here is another run; change it only on purpose.
    tokens, ids = make_sequences()
    positions = arrays(mask(tokens, ids))[1]
    assert positions[0].tolist() == PINNED


PINNED = [5, 10, 14, 23, 30, 31, 32, 34, 53, 63]


def test_an_unknown_value_of_show_is_refused():
    with pytest.raises(masking.InputError, match="80/10/10"):
        masking.mask_tokens(
            jnp.zeros((1, 8), int), jnp.zeros((1, 2), jnp.uint32), jax.random.key(0),
            vocab=VOCAB, rate=0.15, max_predictions=2, show="all",
        )  # fmt: skip
