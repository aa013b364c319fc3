"""Tests of masking: the right tokens and fractions, deterministic for a sequence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bertgrow.core import types
from bertgrow.data.sequences import masking

SIZE, LENGTH = 50, 64
ROWS = 200  # one number almost everywhere: each other one is compiled anew
PAD, UNK, CLS, SEP, MASK = range(5)
STARTS = np.arange(SIZE) < 35  # 35 to 49 continue a word
SPECIAL = np.arange(SIZE) < 5
VOCAB = types.Vocab(SIZE, PAD, UNK, CLS, SEP, MASK, STARTS, SPECIAL)


def make_rows(number=ROWS, *, real=LENGTH, seed=0, low=5):
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


def arrays(found):
    return [np.asarray(array) for array in found]


@pytest.mark.parametrize("whole_word", [False, True])
@pytest.mark.parametrize("show", masking.SHOWS)
def test_the_outputs_keep_their_promises(whole_word, show):
    tokens, ids = make_rows(real=40)

    inputs, positions, targets, weights = arrays(
        mask(tokens, ids, whole_word=whole_word, show=show)
    )

    assert [a.dtype for a in (inputs, positions, targets)] == [np.int32] * 3
    assert weights.dtype == np.float32
    assert positions.shape == targets.shape == weights.shape == (ROWS, 10)
    assert (np.diff(positions, axis=1) >= 0).all()
    assert (np.diff(weights, axis=1) <= 0).all()  # padding predictions come last
    used = weights == 1
    for row in range(ROWS):
        at = positions[row][used[row]]
        assert len(set(at)) == len(at)
        assert not SPECIAL[tokens[row][at]].any()
        assert (targets[row][used[row]] == tokens[row][at]).all()
        rest = np.setdiff1d(np.arange(LENGTH), at)
        assert (inputs[row][rest] == tokens[row][rest]).all()
    assert (targets[~used] == PAD).all()
    assert (positions[~used] == LENGTH - 1).all()


@pytest.mark.parametrize("rate", [0.15, 0.25, 0.02])
def test_each_row_chooses_its_rounded_share_but_one_at_least(rate):
    counts = range(1, LENGTH - 1)
    tokens = np.concatenate([make_rows(1, real=count + 2)[0] for count in counts])

    weights = arrays(mask(tokens, make_rows(len(tokens))[1], rate=rate))[3]

    assert weights.sum(axis=1).tolist() == [min(10, max(1, round(rate * c))) for c in counts]


def test_a_row_without_candidates_chooses_none():
    tokens, ids = make_rows(real=2)
    tokens[1:] = PAD

    for whole_word in (False, True):
        inputs, _, _, weights = arrays(mask(tokens, ids, whole_word=whole_word))
        assert not weights.any()
        assert (inputs == tokens).all()


def test_more_predictions_than_positions_stay_unused():
    tokens, ids = make_rows(3)
    weights = arrays(mask(tokens, ids, max_predictions=LENGTH + 20, rate=1.0))[3]
    assert (weights.sum(axis=1) == LENGTH - 2).all()


@pytest.mark.parametrize("whole_word", [False, True])
def test_of_the_chosen_tokens_80_10_10_percent_become_mask_random_and_themselves(whole_word):
    tokens, ids = make_rows(4000)
    inputs, positions, targets, weights = arrays(mask(tokens, ids, whole_word=whole_word))
    used = weights == 1
    seen = np.take_along_axis(inputs, positions, axis=1)[used]
    targets = targets[used]

    # About 36,000 draws: one deviation of the shares is 0.2 %.
    assert abs((seen == MASK).mean() - 0.8) < 0.01
    # One random token in 45 is the target itself.
    assert abs((seen == targets).mean() - (0.1 + 0.1 / 45)) < 0.01
    random = seen[(seen != MASK) & (seen != targets)]
    assert not SPECIAL[random].any()
    counts = np.bincount(random, minlength=SIZE)[5:]
    assert counts.min() > 0.5 * counts.mean() and counts.max() < 1.6 * counts.mean()


def test_every_candidate_is_equally_likely():
    tokens, ids = make_rows(8000, real=40)
    _, positions, _, weights = arrays(mask(tokens, ids))
    counts = np.bincount(positions[weights == 1], minlength=LENGTH)[1:39]

    # 48,000 draws over 38 places: about 1263 each, one deviation 35.
    assert counts.min() > 1100 and counts.max() < 1430


def test_masks_follow_from_the_identity_of_the_row_alone():
    tokens, ids = make_rows()
    whole = arrays(mask(tokens, ids))

    order = np.random.default_rng(1).permutation(ROWS)
    some = arrays(mask(tokens[order], ids[order]))

    for one, other in zip(whole, some, strict=True):
        np.testing.assert_array_equal(one[order], other)


def test_other_ids_and_other_keys_bring_other_masks():
    tokens, ids = make_rows()
    base = arrays(mask(tokens, ids))[1]

    assert (arrays(mask(tokens, ids, seed=1))[1] != base).any(axis=1).all()
    for column in (0, 1):
        other = ids.copy()
        other[:, column] += 100
        assert (arrays(mask(tokens, other))[1] != base).any(axis=1).all()


def test_the_choice_does_not_depend_on_what_is_shown():
    tokens, ids = make_rows()
    usual, hidden = arrays(mask(tokens, ids)), arrays(mask(tokens, ids, show="mask"))

    for one, other in zip(usual[1:], hidden[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    seen = np.take_along_axis(hidden[0], hidden[1], axis=1)
    assert (seen[hidden[3] == 1] == MASK).all()


def test_whole_words_are_chosen_whole():
    tokens, ids = make_rows(real=50)
    _, positions, _, weights = arrays(mask(tokens, ids, whole_word=True))

    wanted = round(0.15 * 48)
    for row in range(ROWS):
        chosen = set(positions[row][weights[row] == 1].tolist())
        assert len(chosen) <= wanted
        for word in words(tokens[row]):
            assert not chosen & set(word) or chosen >= set(word)
    assert weights.sum(axis=1).mean() > 0.97 * wanted  # nearly all rows fill up


def words(tokens):
    found = []
    for place, token in enumerate(tokens):
        if SPECIAL[token]:
            continue
        if STARTS[token] or SPECIAL[tokens[place - 1]]:
            found.append([])
        found[-1].append(place)
    return found


def test_words_too_long_for_what_is_left_are_passed_over():
    # One word of eight pieces and four of one, two to choose: only the short ones fit.
    tokens = np.array([[CLS, 10, 40, 40, 40, 40, 40, 40, 40, 11, 12, 13, 14, SEP]], np.int32)
    tokens = np.repeat(np.pad(tokens, ((0, 0), (0, LENGTH - 14))), ROWS, axis=0)
    _, ids = make_rows()

    _, positions, _, weights = arrays(mask(tokens, ids, whole_word=True))

    assert (weights.sum(axis=1) == 2).all()
    assert positions[weights == 1].min() == 9


def test_a_batch_sharded_over_devices_gets_the_same_masks():
    tokens, ids = make_rows()
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
        found = step(jax.device_put(tokens, sharding), jax.device_put(ids, sharding))

    assert len(traces) == 1
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), other)


def test_masks_of_a_key_are_pinned():
    # Another choice here is another run; change it only on purpose.
    tokens, ids = make_rows()
    positions = arrays(mask(tokens, ids))[1]
    assert positions[0].tolist() == PINNED


PINNED = [5, 10, 14, 23, 30, 31, 32, 34, 53, 63]


def test_an_unknown_way_of_showing_is_refused():
    with pytest.raises(masking.InputError, match="80/10/10"):
        masking.mask_tokens(
            jnp.zeros((1, 8), int), jnp.zeros((1, 2), jnp.uint32), jax.random.key(0),
            vocab=VOCAB, rate=0.15, max_predictions=2, show="all",
        )  # fmt: skip
