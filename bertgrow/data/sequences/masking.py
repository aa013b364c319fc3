"""Masks for the masked-language-model objective, drawn inside the jitted step."""

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core.errors import InputError

SHOWS = ("80/10/10", "mask")
PASSES = 4  # over the words of a row; see `_choose_words`


def mask_tokens(tokens, ids, key, *, vocab, rate, slots, whole_word=False, show="80/10/10"):
    """Hides tokens for the masked-language-model objective.

    Of the chosen tokens 80 % become [MASK], 10 % a random ordinary token and 10 % stay
    (Devlin et al., 2019, "Masked LM"). A row chooses max(1, round(rate * candidates)), at
    most `slots`, where candidates are the tokens that are not special pieces (and so not
    padding); a row without candidates chooses none. Every row has its own key, folded from
    its `ids`, so its masks do not depend on its place in the batch or on the host.

    Args:
      tokens: int32 [batch, length].
      ids: uint32 [batch, 2], the identity of each row.
      key: a `jax.random.key` of the default kind; under "rbg" rows would share their bits.
      vocab: gives `mask_id`, `pad_id`, `starts` and `special`.
      rate: share of each row's candidates to choose, e.g. 0.15.
      slots: int, room per row; unused slots get weight 0.
      whole_word: choose words (Google's whole-word masking): all pieces of one or none.
        Words that no longer fit are passed over, so a row may choose fewer tokens.
      show: "80/10/10", or "mask" for [MASK] at every chosen position. The choice of
        positions does not depend on it.

    Returns:
      inputs: int32 [batch, length], `tokens` with the chosen ones hidden.
      positions: int32 [batch, slots], ascending; `length - 1` in unused slots, the last ones.
      targets: int32 [batch, slots], what stood at `positions`; `pad_id` in unused slots.
      weights: float32 [batch, slots], 1 where the choice counts, else 0.
    """
    if show not in SHOWS:
        raise InputError(f"show {show!r}: expected one of {', '.join(SHOWS)}")
    length = tokens.shape[1]
    number = _numbers(length, rate, slots)
    choose = _choose_words if whole_word else _choose_tokens
    starts, special = jnp.asarray(vocab.starts), jnp.asarray(vocab.special)

    def row(tokens, ids):
        draws = jax.random.uniform(row_key(key, ids), (length + 2 * slots,))
        which, what, other = jnp.split(draws, (length, length + slots))
        candidates = ~special[tokens]
        wanted = number[candidates.sum()]
        positions = jax.lax.sort(choose(candidates, starts[tokens], wanted, slots, which))
        targets = tokens.at[positions].get(mode="fill", fill_value=vocab.pad_id)
        if show == "mask":
            seen = jnp.full_like(targets, vocab.mask_id)
        else:
            seen = _show(targets, what, other, vocab)
        inputs = tokens.at[positions].set(seen, mode="drop")
        used = positions < length
        return inputs, jnp.minimum(positions, length - 1), targets, used.astype(jnp.float32)

    return jax.vmap(row)(tokens, ids)


def row_key(key, ids):
    """The key of one row; ids: uint32 [2]."""
    return jax.random.fold_in(jax.random.fold_in(key, ids[0]), ids[1])


def _numbers(length, rate, slots):
    """How many tokens a row of so many candidates chooses: int32 [length + 1].

    A table, so that it rounds as Python does and not as float32 happens to.
    """
    table = [min(slots, max(1, round(rate * count))) for count in range(length + 1)]
    return jnp.asarray(np.array([0, *table[1:]], np.int32))


def _choose_tokens(candidates, starts, wanted, slots, draws):
    """int32 [slots]: `wanted` of the candidates, all sets equally likely; else `length`."""
    del starts  # of no concern where tokens are chosen one by one
    length = len(candidates)
    _, positions = jax.lax.top_k(jnp.where(candidates, draws, -1.0), min(slots, length))
    positions = jnp.pad(positions, (0, slots - len(positions)))
    return jnp.where(jnp.arange(slots) < wanted, positions, length)


def _choose_words(candidates, starts, wanted, slots, draws):
    """int32 [slots]: whole words in random order, as long as they fit into `wanted` tokens.

    A word is a start and the candidates that follow it. Passing over a word too long for
    what is left and going on is a loop over words; here each pass takes all words up to the
    first that does not fit, and drops those too long for the rest. What is left shrinks
    with each pass below the length of a word met, so a few passes do what the loop does,
    but for rows of several words of five pieces and more.
    """
    length = len(candidates)
    place = jnp.arange(length)
    follows = jnp.pad(candidates, (1, 0))[:-1]
    opens = candidates & (starts | ~follows)
    begin = jax.lax.cummax(jnp.where(opens, place, 0))  # [length], the word's first piece
    size = jnp.zeros(length, jnp.int32).at[begin].add(candidates)[begin]
    # Equal draws stay in text order, so the pieces of a word are neighbours.
    _, order = jax.lax.top_k(jnp.where(candidates, draws[begin], -1.0), length)
    rank = jnp.zeros(length, jnp.int32).at[order].set(place)
    taken, is_open, left = jnp.zeros(length, bool), candidates, wanted
    for _ in range(PASSES):
        is_open = is_open & (size <= left)
        counted = jnp.cumsum(is_open[order])[rank]  # itself and all before, in random order
        fits = is_open & (counted[begin] + size - 1 <= left)
        taken = taken | fits
        left = left - fits.sum()
        is_open = is_open & ~fits
    ascending = -jax.lax.top_k(-jnp.where(taken, place, length), min(slots, length))[0]
    return jnp.pad(ascending, (0, slots - len(ascending)), constant_values=length)


def _show(targets, what, other, vocab):
    """What stands at the chosen positions: int32 [slots]; draws in [0, 1) decide."""
    ordinary = jnp.asarray(np.flatnonzero(~vocab.special).astype(np.int32))
    random = ordinary[(other * len(ordinary)).astype(jnp.int32)]
    return jnp.where(what < 0.8, vocab.mask_id, jnp.where(what < 0.9, random, targets))
