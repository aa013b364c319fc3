"""Embedding pooling of the low-cost encoder: pools all tokens except prediction targets.

"Embedding pooling" of CompoundGrow (Gu et al., 2021). The queries of the first layer are the
pooled tokens and the targets; its keys and values are all tokens. Later layers process only
the shorter sequence.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors
from bertgrow.models import layers
from bertgrow.models.config import BertConfig


class Streams(nn.Module):
    """Splits a sequence into kept tokens and targets, and pools the kept tokens.

    It has weights only for `concat`.
    """

    config: BertConfig

    @nn.compact
    def __call__(self, hidden, mask, inputs):
        """Computes the inputs of `Encoder`.

        Args:
          hidden: [batch, length, embed].
          mask: bool [batch, length], false at padding.
          inputs: as in `partition`.

        Returns:
          Queries [batch, queries, embed] and their mask: pooled kept tokens, then targets.
          Memory [batch, length, embed] and its mask: unpooled kept tokens, then targets.
        """
        config = self.config
        order, num_kept = partition(hidden.shape[1], inputs)
        if order is not None:
            hidden = jnp.take_along_axis(hidden, order[..., None], axis=1)
            mask = jnp.take_along_axis(mask, order, axis=1)
        kept, targets = hidden[:, :num_kept], hidden[:, num_kept:]

        if config.pool_mode == "concat":
            table = layers.linear("pool_in embed_in embed", "embed")
            windows = join(kept, config.pool)  # [batch, windows, pool, embed]
            pooled = layers.dense(layers.declare(self, table), windows, dims=2)
            pooled_mask = join(mask[:, :num_kept], config.pool).any(axis=-1)
        else:
            pooled = pool(kept, config.pool, config.pool_mode)
            pooled_mask = pool(mask[:, :num_kept], config.pool, "any")
        rows = jnp.concatenate([pooled, targets], axis=1)
        rows_mask = jnp.concatenate([pooled_mask, mask[:, num_kept:]], axis=1)
        return rows, rows_mask, hidden, mask


def partition(length, inputs):
    """Computes the order that moves the prediction targets to the end of each sequence.

    `max_predictions` positions go to the end in every sequence. If a sequence has fewer
    targets, its last tokens that are not targets fill up the rest. These are padding tokens
    first. No token is lost.

    Args:
      length: tokens of a sequence.
      inputs: `positions` int32 [batch, max_predictions], ascending where `weights` of the
        same shape are above 0.

    Returns:
      int32 [batch, length]: kept positions in text order, then targets in the order of
      `positions`, then the positions that fill up; None without `positions`.
      The number of kept positions, int.
    """
    positions = inputs.get("positions")
    if positions is None:
        return None, length
    slots = positions.shape[1]
    if slots >= length:
        raise errors.InputError(
            f"rows of {length} tokens have no room for {slots} predictions beside [CLS]: "
            "lengthen the rows or lower max_predictions"
        )
    counts = (inputs["weights"] > 0).astype(jnp.int32)  # [batch, max_predictions]
    at = positions[..., None] == jnp.arange(length)[None, None]
    is_target = (at & (counts[..., None] > 0)).any(axis=1)  # [batch, length]
    from_end = jnp.cumsum(~is_target[:, ::-1], axis=1)[:, ::-1]
    fills = ~is_target & (from_end <= slots - counts.sum(axis=1, keepdims=True))
    place = jnp.where(is_target, 1, jnp.where(fills, 2, 0))
    return jnp.argsort(place, axis=1, stable=True), length - slots


def pool(kept, size, mode):
    """Pools along the second axis with window and stride `size`, except the first entry.

    The windows are those of TensorFlow's SAME padding. `mean` divides by the number of tokens
    in a window, padding tokens included, as published.

    Args:
      kept: [batch, tokens, ...].
      size: int; 1 returns `kept` unchanged.
      mode: "mean", "max" or "any" (bool).

    Returns:
      [batch, 1 + ceil((tokens - 1) / size), ...].
    """
    first, rest = kept[:, :1], kept[:, 1:]
    num = rest.shape[1]
    windows = -(-num // size)
    short = windows * size - num
    edges = [(0, 0), (short // 2, short - short // 2)] + [(0, 0)] * (kept.ndim - 2)
    empty = -jnp.inf if mode == "max" else 0
    padded = jnp.pad(rest, edges, constant_values=empty)
    padded = padded.reshape(rest.shape[0], windows, size, *rest.shape[2:])
    if mode == "mean":
        real = np.pad(np.ones(num), edges[1]).reshape(windows, size).sum(axis=1)
        share = jnp.asarray(1 / real, rest.dtype).reshape(1, windows, *[1] * (kept.ndim - 2))
        pooled = padded.sum(axis=2) * share
    else:
        pooled = padded.max(axis=2) if mode == "max" else padded.any(axis=2)
    return jnp.concatenate([first, pooled], axis=1)


def join(kept, size):
    """Splits tokens into windows: [batch, tokens, ...] -> [batch, tokens / size, size, ...].

    The first window includes [CLS].
    """
    batch, num, *rest = kept.shape
    if num % size:
        raise errors.InputError(
            f'pool_mode "concat" needs length - max_predictions divisible by pool {size}, '
            f"got {num}: change the length, max_predictions or pool"
        )
    return kept.reshape(batch, num // size, size, *rest)
