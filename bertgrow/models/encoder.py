"""Transformer encoder: a scan over stacked layers, post-norm or pre-norm."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from bertgrow.models import kernels, layers
from bertgrow.models.config import BertConfig

IDENTITY = ()  # sentinel in place of shared queries and keys: identity attention
NEVER = -1e30  # logit of masked keys; finite, so that a sequence of padding gives no NaN
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
FACTORISED = {  # each FFN matrix is a product of two factors
    "up_rank": {"kernel": "layers embed_in rank"},
    "up": layers.linear("layers rank_in mlp", "layers mlp"),
    "down_rank": {"kernel": "layers mlp_in rank"},
    "down": layers.linear("layers rank_in embed", "layers embed"),
}


class Encoder(nn.Module):
    """All transformer layers. Every weight has a leading axis `layers`."""

    config: BertConfig

    @nn.compact
    def __call__(self, hidden, mask, memory=None, memory_mask=None, seeds=None):
        """Runs the layers.

        Args:
          hidden: [batch, length, embed], the residual stream.
          mask: bool [batch, length], false at padding.
          memory: [batch, keys, embed], input of the first layer's keys and values; None:
            `hidden`.
          memory_mask: bool [batch, keys].
          seeds: uint32 [3 layers, 2, batch], three dropout seeds per layer, or None.

        Returns:
          Hidden states [batch, length, embed]; the outputs of all layers [layers, batch,
          length, embed]; their largest magnitudes, float32 [layers].
        """
        table = WEIGHTS | FACTORISED if self.config.ffn_rank else WEIGHTS
        weights = layers.declare(self, table)
        return run(
            weights, hidden, mask, config=self.config, memory=memory, memory_mask=memory_mask,
            seeds=seeds,
        )  # fmt: skip


def run(weights, hidden, mask, *, config, memory=None, memory_mask=None, seeds=None):
    """Scans `group` over the stacked weights. With a memory, the first group runs separately.

    No gradient reaches the frozen layers or the modules below them. Frozen layers have a
    separate scan, so that it has no backward pass and stores no residuals.
    """
    hidden = layers.shard_batch(hidden)
    if seeds is not None:
        seeds = seeds.reshape(config.num_layers, 3, *seeds.shape[1:])
    size, parts, outputs = config.light_every or 1, [(weights, seeds)], []
    if size > 1:
        parts = [jax.tree.map(lambda leaf: leaf.reshape(-1, size, *leaf.shape[1:]), parts[0])]
    step = functools.partial(group if size > 1 else _single_layer, config=config)
    if frozen := config.frozen_layers // size:
        hidden, memory = jax.lax.stop_gradient((hidden, memory))
        below, above = _at(parts[0], slice(frozen)), _at(parts[0], slice(frozen, None))
        parts = [jax.lax.stop_gradient(below), above]
    if memory is not None:
        (first, first_seeds), parts[0] = _at(parts[0], 0), _at(parts[0], slice(1, None))
        first_step = apply_remat(step, config.remat, prevent_cse=True)
        hidden, output = first_step(first, hidden, mask, memory, memory_mask, first_seeds)
        hidden = layers.shard_batch(hidden)
        outputs.append((output[None], largest(output)[None]))

    # In a scan, XLA cannot merge the recomputation with the forward pass, so the barriers of
    # `prevent_cse` are not needed and would cost time.
    scanned_step = apply_remat(step, config.remat, prevent_cse=False)

    def body(hidden, step_weights):
        weights, seeds = step_weights
        hidden, output = scanned_step(weights, hidden, mask, None, None, seeds)
        hidden = layers.shard_batch(hidden)
        return hidden, (output, largest(output))

    for part in parts:
        hidden, part_outputs = jax.lax.scan(body, hidden, part, unroll=config.unroll or 1)
        outputs.append(part_outputs)
    # [groups, layers of a group, ...] or [layers, ...]
    stacked, layer_max = map(jnp.concatenate, zip(*outputs, strict=True))
    return hidden, stacked.reshape(-1, *hidden.shape), layer_max.reshape(-1)


def largest(outputs):
    """The largest magnitude of a layer's outputs, without a gradient.

    The scan body calls this, so that the stacked outputs need not be stored for it.

    Args:
      outputs: float [..., batch, length, embed].

    Returns:
      float32 [...].
    """
    return jnp.abs(jax.lax.stop_gradient(outputs)).max(axis=(-3, -2, -1)).astype(jnp.float32)


def group(weights, hidden, mask, memory, memory_mask, seeds, *, config):
    """Runs `light_every` layers, the last with light attention, or a single layer.

    Args:
      weights: stacked weights of the group's layers.
      hidden: [batch, length, embed].
      mask: bool [batch, length].
      memory: [batch, keys, embed], input of the first layer's keys and values; None:
        `hidden`.
      memory_mask: bool [batch, keys], or None.
      seeds: dropout seeds, uint32 [layers, 3, 2, batch], or None.

    Returns:
      Hidden states [batch, length, embed] and every layer's output [layers, batch, length,
      embed].
    """
    outputs, query_keys = [], None
    for index in range(config.light_every or 1):
        layer, layer_seeds = _at((weights, seeds), index)
        source, source_mask = hidden, mask
        if memory is not None and index == 0:
            source, source_mask = memory, memory_mask
        is_light = config.light_every and index == config.light_every - 1
        hidden, query_keys = block(
            layer, hidden, source, source_mask, layer_seeds, config=config,
            shared=query_keys if is_light else None,
        )  # fmt: skip
        if source is memory:  # its keys are not the positions of the next layer
            query_keys = IDENTITY
        outputs.append(hidden)
    return hidden, jnp.stack(outputs)


def _single_layer(weights, hidden, mask, memory, memory_mask, seeds, *, config):
    """`group` for a single layer, without the group axis. Returns the output twice.

    Indexing a weight out of a group makes a new array, which would be stored for the backward
    pass in addition to the stacked one.
    """
    source, source_mask = (hidden, mask) if memory is None else (memory, memory_mask)
    hidden, _ = block(weights, hidden, source, source_mask, seeds, config=config)
    return hidden, hidden


def block(weights, hidden, memory, mask, seeds, *, config, shared=None):
    """One layer: attention, then the FFN, each with a residual connection.

    LayerNorm follows each sum ("post": Devlin et al., 2019; Vaswani et al., 2017, section
    3.1), or precedes attention and the FFN ("pre": Xiong et al., 2020; Shoeybi et al., 2019,
    section 5.3). "pre" does not normalise the residual stream itself. There is no dropout
    between the two products of the FFN.

    Returns:
      The layer's output [batch, length, embed], and the queries and keys of its
      `multi_head_attention`.
    """
    probs_seed, attention_seed, ffn_seed = (None,) * 3 if seeds is None else seeds
    drop = functools.partial(layers.dropout, rate=config.dropout)
    first = functools.partial(layers.layer_norm, weights["attention_norm"])
    second = functools.partial(layers.layer_norm, weights["mlp_norm"])

    def attend(hidden, memory):
        kernel = kernels.of_layers(config, hidden)
        context, query_keys = multi_head_attention(
            weights, hidden, memory, mask, probs_seed, config.attention_dropout, shared,
            kernel=kernel,
        )  # fmt: skip
        return drop(context, attention_seed), query_keys

    def feed(hidden):
        inner = layers.activation(config)(_product(weights, "up", hidden))
        return drop(_product(weights, "down", inner), ffn_seed)

    if config.norm_order == "pre":
        attended, query_keys = attend(first(hidden), first(memory))
        hidden = hidden + attended
        return hidden + feed(second(hidden)), query_keys
    attended, query_keys = attend(hidden, memory)
    hidden = first(hidden + attended)
    return second(hidden + feed(hidden)), query_keys


def multi_head_attention(
    weights, hidden, memory, mask, seed, rate, shared=None, *, kernel=kernels.XLA
):
    """Multi-head attention from `hidden` to the positions of `memory`.

    Light attention (Gu et al., 2021, released code) uses the attention probabilities of the
    previous layer, before dropout. Its own queries and keys are not used. Both layers compute
    the same products, so the compiler computes them once, and layers need not pass
    probabilities on.

    Args:
      weights: of one layer.
      hidden: [batch, length, embed], input of the queries.
      memory: [batch, keys, embed], input of keys and values.
      mask: bool [batch, keys], false at padding.
      seed: dropout seed, uint32 [2, batch], or None.
      rate: dropout rate of attention probabilities.
      shared: queries and keys of the previous layer if this layer is light, else None.
        `IDENTITY` if that layer had other key positions: then each position attends to itself.
      kernel: "xla", or a kernel of `kernels.run`, without dropout.

    Returns:
      [batch, length, embed], and the queries and keys [batch, length or keys, heads, kv].
    """
    values = layers.dense(weights["value"], memory)
    if shared is None:
        query_keys = (
            layers.dense(weights["query"], hidden),
            layers.dense(weights["key"], memory),
        )
    else:
        query_keys, seed = shared, None
    if query_keys == IDENTITY:
        context = values
    elif kernel != kernels.XLA:
        context = kernels.run(kernel, *query_keys, values, mask)
    else:
        context, _ = attention(*query_keys, values, mask, seed, rate)
    return layers.dense(weights["out"], context, dims=2), query_keys


def _product(weights, name, x):
    """Applies the FFN matrix `name`, full or factorised (Gu et al., 2021)."""
    if f"{name}_rank" in weights:
        x = layers.product(x, weights[f"{name}_rank"]["kernel"].astype(x.dtype))
    return layers.dense(weights[name], x)


def attention(query, keys, values, mask, seed, rate, hook=None):
    """Softmax attention that recomputes logits and probabilities in the backward pass.

    To store them would take more memory than the rest of a layer. The backward pass also
    recomputes the result of the hook.

    Args:
      query: [batch, length, heads, kv].
      keys: [batch, keys, heads, kv].
      values: [batch, keys, heads, kv].
      mask: bool [batch, keys], false at padding.
      seed: dropout seed, uint32 [2, batch], or None.
      rate: dropout rate of attention probabilities.
      hook: function of the attention logits, or None.

    Returns:
      [batch, length, heads, kv], and the result of the hook, or None.
    """

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def run(query, keys, values):
        logits = scores(query, keys, mask)
        probs = layers.dropout(jax.nn.softmax(logits).astype(values.dtype), seed, rate)
        context = jnp.einsum("bhqm,bmhk->bqhk", probs, values)
        return context, None if hook is None else hook(logits)

    return run(query, keys, values)


def scores(query, keys, mask):
    """Attention logits, float32 [batch, heads, length, keys].

    Args:
      query: [batch, length, heads, kv].
      keys: [batch, keys, heads, kv].
      mask: bool [batch, keys]; masked keys get the logit `NEVER`.
    """
    query = query * query.shape[-1] ** -0.5
    products = layers.float32_einsum("bqhk,bmhk->bhqm", query, keys)
    return jnp.where(mask[:, None, None], products, NEVER)


def apply_remat(step, remat, *, prevent_cse):
    """Wraps a layer in `jax.checkpoint` by the remat policy.

    The backward pass stores all intermediate values ("none"), the products with weights
    ("dots") or only the layer's input ("full").
    """
    if remat == "none":
        return step
    policies = jax.checkpoint_policies
    policy = policies.dots_with_no_batch_dims_saveable if remat == "dots" else None
    return jax.checkpoint(step, policy=policy, prevent_cse=prevent_cse)


def _at(weights, index):
    return jax.tree.map(lambda leaf: leaf[index], weights)
