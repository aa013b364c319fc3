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
    """Splits a sequence into context tokens and targets, and pools the context tokens.

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
          Queries [batch, queries, embed] and their mask: pooled context tokens, then targets.
          Memory [batch, length, embed] and its mask: unpooled context tokens, then targets.
        """
        config = self.config
        order, num_context = partition(hidden.shape[1], inputs)
        if order is not None:
            hidden = jnp.take_along_axis(hidden, order[..., None], axis=1)
            mask = jnp.take_along_axis(mask, order, axis=1)
        context, targets = hidden[:, :num_context], hidden[:, num_context:]

        if config.pool_mode == "concat":
            table = layers.linear("pool_in embed_in embed", "embed")
            windows = join(context, config.pool)  # [batch, windows, pool, embed]
            pooled = layers.dense(layers.declare(self, table), windows, dims=2)
            pooled_mask = join(mask[:, :num_context], config.pool).any(axis=-1)
        else:
            pooled = pool(context, config.pool, config.pool_mode)
            pooled_mask = pool(mask[:, :num_context], config.pool, "any")
        queries = jnp.concatenate([pooled, targets], axis=1)
        queries_mask = jnp.concatenate([pooled_mask, mask[:, num_context:]], axis=1)
        return queries, queries_mask, hidden, mask


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
      int32 [batch, length]: context positions in text order, then targets in the order of
      `positions`, then the positions that fill up; None without `positions`.
      The number of context positions, int.
    """
    positions = inputs.get("positions")
    if positions is None:
        return None, length
    max_predictions = positions.shape[1]
    if max_predictions >= length:
        raise errors.InputError(
            f"sequences of {length} tokens have no place for {max_predictions} predictions and "
            f"[CLS]: raise length to {max_predictions + 1} or lower max_predictions"
        )
    counts = (inputs["weights"] > 0).astype(jnp.int32)  # [batch, max_predictions]
    matches = positions[..., None] == jnp.arange(length)[None, None]
    is_target = (matches & (counts[..., None] > 0)).any(axis=1)  # [batch, length]
    from_end = jnp.cumsum(~is_target[:, ::-1], axis=1)[:, ::-1]
    fills = ~is_target & (from_end <= max_predictions - counts.sum(axis=1, keepdims=True))
    group = jnp.where(is_target, 1, jnp.where(fills, 2, 0))
    return jnp.argsort(group, axis=1, stable=True), length - max_predictions


def pool(context, size, mode):
    """Pools along the second axis with window and stride `size`, except the first entry.

    The windows are those of TensorFlow's SAME padding. `mean` divides by the number of tokens
    in a window, padding tokens included, as published.

    Args:
      context: [batch, tokens, ...].
      size: int; 1 returns `context` unchanged.
      mode: "mean", "max" or "any" (bool).

    Returns:
      [batch, 1 + ceil((tokens - 1) / size), ...].
    """
    first, rest = context[:, :1], context[:, 1:]
    num = rest.shape[1]
    windows = -(-num // size)
    short = windows * size - num
    edges = [(0, 0), (short // 2, short - short // 2)] + [(0, 0)] * (context.ndim - 2)
    empty = -jnp.inf if mode == "max" else 0
    padded = jnp.pad(rest, edges, constant_values=empty)
    padded = padded.reshape(rest.shape[0], windows, size, *rest.shape[2:])
    if mode == "mean":
        counts = np.pad(np.ones(num), edges[1]).reshape(windows, size).sum(axis=1)
        factor = jnp.asarray(1 / counts, rest.dtype).reshape(
            1, windows, *[1] * (context.ndim - 2)
        )
        pooled = padded.sum(axis=2) * factor
    else:
        pooled = padded.max(axis=2) if mode == "max" else padded.any(axis=2)
    return jnp.concatenate([first, pooled], axis=1)


def join(context, size):
    """Splits tokens into windows: [batch, tokens, ...] -> [batch, tokens / size, size, ...].

    The first window includes [CLS].
    """
    batch, num, *rest = context.shape
    if num % size:
        raise errors.InputError(
            f'pool_mode "concat" needs length - max_predictions divisible by pool {size}, '
            f"got {num}: change the length, max_predictions or pool"
        )
    return context.reshape(batch, num // size, size, *rest)
