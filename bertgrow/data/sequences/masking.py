"""Draws masks for masked language modelling, inside the jitted step."""

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core import keys
from bertgrow.core.errors import InputError

SHOWS = ("80/10/10", "mask")
PASSES = 4  # over the words of a sequence; see `_choose_words`


def mask_tokens(
    tokens, ids, key, *, vocab, rate, max_predictions, whole_word=False, show="80/10/10"
):
    """Masks tokens for masked language modelling.

    Of the chosen tokens, 80 % become [MASK], 10 % become a random ordinary token and 10 % stay
    unchanged (Devlin et al., 2019, "Masked LM"). Candidates are all tokens except special
    tokens such as padding. A sequence with candidates has max(1, round(rate * candidates))
    masked positions, at most `max_predictions`; a sequence without candidates has none. The
    key of each sequence is folded from its `ids`, so its masks do not depend on its place in
    the batch or on the host.

    Args:
      tokens: int32 [batch, length].
      ids: uint32 [batch, 2], identifies each sequence.
      key: a `jax.random.key` of the default implementation; with "rbg" all sequences would
        get the same random bits.
      vocab: `Vocab`; uses `mask_id`, `pad_id`, `starts` and `special`.
      rate: masking rate, the fraction of the candidates to choose, e.g. 0.15.
      max_predictions: int, predictions per sequence; padding predictions have weight 0.
      whole_word: whether to mask whole words (Google's whole-word masking): all tokens of a
        word or none. Words that do not fit are skipped, so fewer tokens may be chosen.
      show: "80/10/10", or "mask" for [MASK] at every chosen position. It does not change
        which positions are chosen.

    Returns:
      inputs: int32 [batch, length], `tokens` after masking.
      positions: int32 [batch, max_predictions], masked positions in ascending order; padding
        predictions come last and have position `length - 1`.
      targets: int32 [batch, max_predictions], original tokens; `pad_id` for padding
        predictions.
      weights: float32 [batch, max_predictions], 1 for masked positions, 0 for padding
        predictions.
    """
    if show not in SHOWS:
        raise InputError(f"show {show!r}: expected one of {', '.join(SHOWS)}")
    length = tokens.shape[1]
    counts = _counts(length, rate, max_predictions)
    choose = _choose_words if whole_word else _choose_tokens
    starts, special = jnp.asarray(vocab.starts), jnp.asarray(vocab.special)

    def mask_sequence(tokens, ids):
        draws = jax.random.uniform(keys.of_sequence(key, ids), (length + 2 * max_predictions,))
        choice, action, random_token = jnp.split(draws, (length, length + max_predictions))
        candidates = ~special[tokens]
        count = counts[candidates.sum()]
        positions = jax.lax.sort(
            choose(candidates, starts[tokens], count, max_predictions, choice)
        )
        targets = tokens.at[positions].get(mode="fill", fill_value=vocab.pad_id)
        if show == "mask":
            shown = jnp.full_like(targets, vocab.mask_id)
        else:
            shown = _show(targets, action, random_token, vocab)
        inputs = tokens.at[positions].set(shown, mode="drop")
        used = positions < length
        return inputs, jnp.minimum(positions, length - 1), targets, used.astype(jnp.float32)

    return jax.vmap(mask_sequence)(tokens, ids)


def _counts(length, rate, max_predictions):
    """Number of masked positions for each number of candidates: int32 [length + 1].

    A table computed in Python, because float32 rounds differently.
    """
    table = [min(max_predictions, max(1, round(rate * count))) for count in range(length + 1)]
    return jnp.asarray(np.array([0, *table[1:]], np.int32))


def _choose_tokens(candidates, starts, count, max_predictions, draws):
    """Chooses `count` candidates uniformly: int32 [max_predictions], padded with `length`."""
    del starts  # tokens are chosen independently of words
    length = len(candidates)
    _, positions = jax.lax.top_k(
        jnp.where(candidates, draws, -1.0), min(max_predictions, length)
    )
    positions = jnp.pad(positions, (0, max_predictions - len(positions)))
    return jnp.where(jnp.arange(max_predictions) < count, positions, length)


def _choose_words(candidates, starts, count, max_predictions, draws):
    """Chooses whole words in random order, up to `count` tokens: int32 [max_predictions].

    A word is a start and the candidates that follow it. The reference algorithm loops over
    words and skips a word that is longer than the remaining number of tokens. Here each pass
    takes all words up to the first that does not fit, and drops the words that are too long
    for the rest. After each pass the remaining number is less than the length of a skipped
    word. A few passes therefore give the result of the loop, except for sequences with
    several words of five or more tokens.
    """
    length = len(candidates)
    place = jnp.arange(length)
    follows = jnp.pad(candidates, (1, 0))[:-1]
    opens = candidates & (starts | ~follows)
    begin = jax.lax.cummax(jnp.where(opens, place, 0))  # [length], first token of the word
    size = jnp.zeros(length, jnp.int32).at[begin].add(candidates)[begin]
    # Equal draws stay in text order, so the tokens of a word are adjacent.
    _, order = jax.lax.top_k(jnp.where(candidates, draws[begin], -1.0), length)
    rank = jnp.zeros(length, jnp.int32).at[order].set(place)
    chosen, is_open, remaining = jnp.zeros(length, bool), candidates, count
    for _ in range(PASSES):
        is_open = is_open & (size <= remaining)
        total = jnp.cumsum(is_open[order])[rank]  # up to this one, in random order
        fits = is_open & (total[begin] + size - 1 <= remaining)
        chosen = chosen | fits
        remaining = remaining - fits.sum()
        is_open = is_open & ~fits
    ascending = -jax.lax.top_k(-jnp.where(chosen, place, length), min(max_predictions, length))[
        0
    ]
    return jnp.pad(ascending, (0, max_predictions - len(ascending)), constant_values=length)


def _show(targets, action, random_token, vocab):
    """Input tokens at the masked positions, by draws in [0, 1): int32 [max_predictions]."""
    ordinary = jnp.asarray(np.flatnonzero(~vocab.special).astype(np.int32))
    random = ordinary[(random_token * len(ordinary)).astype(jnp.int32)]
    return jnp.where(action < 0.8, vocab.mask_id, jnp.where(action < 0.9, random, targets))
