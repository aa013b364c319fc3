"""Post-norm transformer layers, stacked on one axis and walked by a scan."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.nn import layers
from bertgrow.nn.config import BertConfig

NEVER = -1e30  # a score that gets no attention; finite, so a row of padding is no NaN
WEIGHTS = {
    "query": layers.linear("layers embed_in heads kv", "layers heads kv"),
    "key": layers.linear("layers embed_in heads kv", "layers heads kv"),
    "value": layers.linear("layers embed_in heads kv", "layers heads kv"),
    "out": layers.linear("layers heads_in kv_in embed", "layers embed"),
    "attention_norm": layers.norm("layers embed"),
    "up": layers.linear("layers embed_in mlp", "layers mlp"),
    "down": layers.linear("layers mlp_in embed", "layers embed"),
    "mlp_norm": layers.norm("layers embed"),
}


class Encoder(nn.Module):
    """All layers; every weight has a leading axis `layers`."""

    config: BertConfig

    @nn.compact
    def __call__(self, hidden, mask, memory=None, memory_mask=None, salts=None):
        """Runs the layers.

        Args:
          hidden: [batch, rows, embed], the residual stream.
          mask: bool [batch, rows], false at padding.
          memory: [batch, keys, embed], what the first layer attends to instead of `hidden`.
          memory_mask: bool [batch, keys].
          salts: uint32 [3 layers, 2, batch], three dropouts a layer, or None.

        Returns:
          [batch, rows, embed] and, stacked, every layer's output [layers, batch, rows, embed].
        """
        weights = layers.declare(self, WEIGHTS)
        given = {"memory": memory, "memory_mask": memory_mask, "salts": salts}
        return run(weights, hidden, mask, config=self.config, **given)


def run(weights, hidden, mask, *, config, memory=None, memory_mask=None, salts=None):
    """Scans `block` over the stacked weights; with a memory the first layer runs apart.

    No gradient reaches the frozen layers or what feeds them. They have a scan of their own, so
    that there is no backward pass of it and nothing is kept for one.
    """
    step = functools.partial(block, config=config)
    if salts is not None:
        salts = salts.reshape(config.num_layers, 3, *salts.shape[1:])
    frozen, parts, outputs = config.frozen_layers, [(weights, salts)], []
    if frozen:
        hidden, memory = jax.lax.stop_gradient((hidden, memory))
        below, above = (_at(parts[0], at) for at in (slice(frozen), slice(frozen, None)))
        parts = [jax.lax.stop_gradient(below), above]
    if memory is not None:
        (first, salt), parts[0] = _at(parts[0], 0), _at(parts[0], slice(1, None))
        apart = remember(step, config.remat, prevent_cse=True)
        hidden = apart(first, hidden, memory, memory_mask, salt)
        outputs.append(hidden[None])

    # In a scan the compiler sees no two copies to merge, and the guard would cost time.
    inside = remember(step, config.remat, prevent_cse=False)

    def body(hidden, layer):
        weights, salt = layer
        hidden = inside(weights, hidden, hidden, mask, salt)
        return hidden, hidden

    for part in parts:
        hidden, rest = jax.lax.scan(body, hidden, part)
        outputs.append(rest)
    return hidden, jnp.concatenate(outputs)


def block(weights, hidden, memory, mask, salt, *, config):
    """One post-norm layer (Devlin et al., 2019; Vaswani et al., 2017, section 3.1).

    No dropout between the two products of the FFN.
    """
    on_scores, on_attention, on_ffn = (None,) * 3 if salt is None else salt
    drop = functools.partial(layers.dropout, rate=config.dropout)

    attended = attention(weights, hidden, memory, mask, on_scores, config.attention_dropout)
    hidden = layers.layer_norm(weights["attention_norm"], hidden + drop(attended, on_attention))
    inner = layers.activation(config)(layers.dense(weights["up"], hidden))
    changed = drop(layers.dense(weights["down"], inner), on_ffn)
    return layers.layer_norm(weights["mlp_norm"], hidden + changed)


def attention(weights, hidden, memory, mask, salt, rate):
    """Every row of `hidden` reads the rows of `memory` where `mask` [batch, keys] is true."""
    query = layers.dense(weights["query"], hidden)  # [batch, rows, heads, kv]
    keys = layers.dense(weights["key"], memory)
    values = layers.dense(weights["value"], memory)
    return layers.dense(weights["out"], read(query, keys, values, mask, salt, rate), dims=2)


@functools.partial(jax.checkpoint, static_argnums=5, prevent_cse=False)
def read(query, keys, values, mask, salt, rate):
    """Softmax attention; its shares are computed again in the backward pass.

    To keep them would take more memory than all else in a layer.
    """
    shares = jax.nn.softmax(scores(query, keys, mask))
    shares = layers.dropout(shares.astype(values.dtype), salt, rate)
    return jnp.einsum("bhqm,bmhk->bqhk", shares, values)


def scores(query, keys, mask):
    """What the softmax of attention reads: float32 [batch, heads, rows, keys].

    Args:
      query: [batch, rows, heads, kv].
      keys: [batch, keys, heads, kv].
      mask: bool [batch, keys]; a false key scores `NEVER`.
    """
    query = query * query.shape[-1] ** -0.5
    products = jnp.einsum("bqhk,bmhk->bhqm", query, keys, preferred_element_type=jnp.float32)
    return jnp.where(mask[:, None, None], products, NEVER)


def remember(step, remat, *, prevent_cse):
    """Keeps everything for the backward pass, the products of weights, or nothing."""
    if remat == "none":
        return step
    policies = jax.checkpoint_policies
    policy = policies.dots_with_no_batch_dims_saveable if remat == "dots" else None
    return jax.checkpoint(step, policy=policy, prevent_cse=prevent_cse)


def _at(weights, index):
    return jax.tree.map(lambda leaf: leaf[index], weights)
