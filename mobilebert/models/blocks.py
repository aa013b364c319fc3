"""Block of MobileBERT or its teacher: bottleneck, attention, FFNs, expansion.

Weights have the same names in every model; the wiring decides which of them exist and their
widths. A residual stream without LayerNorm stays in float32, whatever the dtype of matrix
products: with the released weights it reaches 2.5e7.
"""

import functools

import jax
import jax.numpy as jnp

from bertgrow.models import encoder, layers

LOOSE = 1e-5  # epsilon of Hugging Face's norms of the embeddings and of the last FFN
FFN = ("up", "down", "mlp_norm")  # weights stacked along `ffn` too


def weights(config):
    """{name: axis names} of the weights of all blocks, stacked along `layers`."""
    query = "embed" if config.attention_input == "input" else "body"
    value = "body" if config.attention_input == "bottleneck" else "embed"
    bottleneck = layers.linear("layers embed_in body", "layers body")
    table = {"bottleneck": bottleneck, "bottleneck_norm": layers.norm("layers body")}
    if config.attention_input == "shared":
        table |= {"shared": bottleneck, "shared_norm": layers.norm("layers body")}
    table |= {
        "query": layers.linear(f"layers {query}_in heads kv", "layers heads kv"),
        "key": layers.linear(f"layers {query}_in heads kv", "layers heads kv"),
        "value": layers.linear(f"layers {value}_in heads kv", "layers heads kv"),
        "out": layers.linear("layers heads_in kv_in body", "layers body"),
        "attention_norm": layers.norm("layers body"),
        "up": layers.linear("layers ffn body_in mlp", "layers ffn mlp"),
        "down": layers.linear("layers ffn mlp_in body", "layers ffn body"),
        "mlp_norm": layers.norm("layers ffn body"),
        "expand": layers.linear("layers body_in embed", "layers embed"),
        "expand_norm": layers.norm("layers embed"),
    }
    if config.norm == "folded":
        table = {name: axes for name, axes in table.items() if not name.endswith("_norm")}
        table["expand_norm"] = {"scale": "layers embed"}
    return table


def block(weights, hidden, mask, dropout_seeds=None, *, config, hook=None):
    """One block (Sun et al., 2020, figure 1; wiring as in Table 1 or as released).

    The residual around attention is the output of the bottleneck, not the input of the block.
    Dropout applies to attention probabilities and to the block's output before the residual
    addition, nowhere else.

    Args:
      weights: of one layer.
      hidden: [batch, length, embed].
      mask: bool [batch, length], false at padding.
      dropout_seeds: uint32 [2, 2, batch], or None.
      hook: function of the attention scores, see `bertgrow.models.encoder.attention`, or None.

    Returns:
      [batch, length, embed], and the output of the hook, or None.
    """
    probs_seed, output_seed = (None, None) if dropout_seeds is None else dropout_seeds
    dense = functools.partial(_dense, dtype=layers.compute_dtype(config))
    norm = functools.partial(normalise, config=config)

    narrow = _bottleneck(weights, "bottleneck", hidden, config)
    query_input = value_input = hidden
    if config.attention_input == "shared":
        query_input = _bottleneck(weights, "shared", hidden, config)
    elif config.attention_input == "bottleneck":
        query_input = value_input = narrow
    query, keys = dense(weights["query"], query_input), dense(weights["key"], query_input)
    values, rate = dense(weights["value"], value_input), config.attention_dropout
    context, hook_output = encoder.attention(query, keys, values, mask, probs_seed, rate, hook)
    attended = dense(weights["out"], context, dims=2)
    narrow = norm(weights.get("attention_norm"), attended + narrow)

    def ffn(narrow, weights, is_loose=False):
        inner = layers.activation(config)(dense(weights["up"], narrow))
        summed = dense(weights["down"], inner) + narrow
        return norm(weights.get("mlp_norm"), summed, is_loose=is_loose), None

    stack = {name: weights[name] for name in FFN if name in weights}
    if config.loose_norms:
        last = jax.tree.map(lambda leaf: leaf[-1], stack)
        stack = jax.tree.map(lambda leaf: leaf[:-1], stack)
    narrow, _ = jax.lax.scan(ffn, narrow, stack)
    if config.loose_norms:
        narrow, _ = ffn(narrow, last, is_loose=True)
    changed = layers.dropout(dense(weights["expand"], narrow), output_seed, config.dropout)
    if config.norm == "folded":
        hidden = hidden * weights["expand_norm"]["scale"][None, None]
    return norm(weights["expand_norm"], changed + hidden), hook_output


def normalise(weights, x, config, is_loose=False):
    """Applies the norm of `config`: LayerNorm, or scale and shift alone ("NoNorm").

    Args:
      weights: scale and bias; None if the norm is folded.
      x: [batch, length, channels].
      config: `MobileBertConfig`.
      is_loose: whether it is one of the norms that `config.loose_norms` changes.

    Returns `x` if `mobilebert.models.fold` has merged scale and shift into the dense layers.
    """
    if config.norm == "layer" and is_loose and config.loose_norms:
        return layers.layer_norm(weights, x, LOOSE)
    if config.norm == "layer":
        return layers.layer_norm(weights, x)
    if config.norm == "folded":
        return x
    scale, bias = (jnp.expand_dims(weights[name], (0, 1)) for name in ("scale", "bias"))
    return (x.astype(jnp.float32) * scale + bias).astype(x.dtype)


def stream_dtype(config):
    """The dtype of the residual stream."""
    return layers.compute_dtype(config) if config.norm == "layer" else jnp.dtype("float32")


def _bottleneck(weights, name, hidden, config):
    """Bottleneck: [batch, length, embed] -> [batch, length, body]."""
    narrow = _dense(weights[name], hidden, layers.compute_dtype(config))
    narrow = narrow.astype(stream_dtype(config))
    return normalise(weights.get(f"{name}_norm"), narrow, config)


def _dense(weights, x, dtype, dims=1):
    """A dense layer whose outputs stay where their sequences are.

    The body is as narrow as a weight, so that XLA would move it under `fsdp` instead.
    """
    return layers.keep_batch(layers.dense(weights, x.astype(dtype), dims))
