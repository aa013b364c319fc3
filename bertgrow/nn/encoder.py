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
        return run(weights, hidden, mask, memory, memory_mask, salts, self.config)


def run(weights, hidden, mask, memory, memory_mask, salts, config):
    """Scans `block` over the stacked weights; with a memory the first layer runs apart."""
    step = _remember(functools.partial(block, config=config), config.remat)
    if salts is not None:
        salts = salts.reshape(config.num_layers, 3, *salts.shape[1:])
    stack, outputs = (weights, salts), []
    if memory is not None:
        (first, salt), stack = _at(stack, 0), _at(stack, slice(1, None))
        hidden = step(first, hidden, memory, memory_mask, salt)
        outputs = [hidden[None]]

    def body(hidden, layer):
        weights, salt = layer
        hidden = step(weights, hidden, hidden, mask, salt)
        return hidden, hidden

    hidden, rest = jax.lax.scan(body, hidden, stack)
    return hidden, jnp.concatenate([*outputs, rest])


def block(weights, hidden, memory, mask, salt, *, config):
    """One post-norm layer (Devlin et al., 2019; Vaswani et al., 2017, section 3.1).

    No dropout between the two products of the FFN.
    """
    on_scores, on_attention, on_ffn = (None,) * 3 if salt is None else salt
    drop = functools.partial(layers.dropout, rate=config.dropout)

    attended = attention(weights, hidden, memory, mask, on_scores, config.attention_dropout)
    hidden = layers.layer_norm(weights["attention_norm"], hidden + drop(attended, on_attention))
    inner = layers.ACTIVATIONS[config.activation](layers.dense(weights["up"], hidden))
    changed = drop(layers.dense(weights["down"], inner), on_ffn)
    return layers.layer_norm(weights["mlp_norm"], hidden + changed)


def attention(weights, hidden, memory, mask, salt, rate):
    """Every row of `hidden` reads the rows of `memory` where `mask` [batch, keys] is true."""
    query = layers.dense(weights["query"], hidden)  # [batch, rows, heads, kv]
    keys = layers.dense(weights["key"], memory)
    values = layers.dense(weights["value"], memory)
    query = query * query.shape[-1] ** -0.5
    scores = jnp.einsum("bqhk,bmhk->bhqm", query, keys, preferred_element_type=jnp.float32)
    shares = jax.nn.softmax(jnp.where(mask[:, None, None], scores, NEVER))
    shares = layers.dropout(shares.astype(values.dtype), salt, rate)
    read = jnp.einsum("bhqm,bmhk->bqhk", shares, values)
    return layers.dense(weights["out"], read, dims=2)


def _remember(step, remat):
    if remat == "none":
        return step
    policies = jax.checkpoint_policies
    policy = policies.dots_with_no_batch_dims_saveable if remat == "dots" else None
    # In a scan the compiler has no two copies to merge, so the guard would only cost time.
    return jax.checkpoint(step, policy=policy, prevent_cse=False)


def _at(weights, index):
    return jax.tree.map(lambda leaf: leaf[index], weights)
