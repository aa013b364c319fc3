"""Small models for growth tests: the real network, and a plain one with free sizes."""

import functools

import jax
import jax.numpy as jnp
import tiny

from bertgrow.core import tree
from bertgrow.models import bert

EPSILON = 1e-12


@functools.cache
def network(**overrides):
    """The real network of the tiny configuration with some fields changed."""
    return bert.network(tiny.config(dropout=0.0, attention_dropout=0.0, **overrides))


def sizes(**overrides):
    return bert.sizes(tiny.config(**overrides))


def sizes_after(growth, old):
    """The size table once `growth` has been applied to a model of sizes `old`."""
    return {**old, **{axis: after for axis, (_, after) in growth.changes.items()}}


def grow(growth, params, axes):
    """The map of an operator, e.g. `growth.weights`, compiled: (tree, axes)."""
    grown = jax.jit(lambda params: growth(params, axes)[0])(params)
    return grown, grown_axes(growth, params, axes)


def grown_axes(growth, params, axes):
    traced = []
    jax.eval_shape(lambda params: traced.append(growth(params, axes)[1]), params)
    return traced[0]


def batch(length=16):
    return tiny.inputs(length=length)


def logits(net, params, inputs):
    """[batch, max_predictions, vocab], zero at padding predictions."""
    return measure(net.apply, params, inputs)[0]


@functools.partial(jax.jit, static_argnums=0)
def measure(apply, params, inputs):
    """Logits, zero at padding predictions, and loss, of a network's `apply` or of `plain`."""
    scores = apply(params, inputs)["mlm_logits"]
    return scores * inputs["weights"][..., None], _entropy(scores, inputs)


def loss(apply, params, inputs):
    """Mean cross-entropy of the masked tokens."""
    return _entropy(apply(params, inputs)["mlm_logits"], inputs)


def _entropy(logits, inputs):
    scores = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(scores, inputs["targets"][..., None], axis=-1)[..., 0]
    return -(picked * inputs["weights"]).sum() / inputs["weights"].sum()


@functools.partial(jax.jit, static_argnums=0)
def gradients(apply, params, inputs):
    return jax.grad(loss, argnums=1)(apply, params, inputs)


def plain(params, inputs):
    """The same BERT on the same tree, sizes read off the weights, in their precision.

    So heads can grow alone (a configuration ties them to the width), in float64 too.
    """
    table = params["embeddings"]
    dtype = table["words"].dtype
    hidden = table["words"][inputs["tokens"]] + table["types"][inputs["types"]]
    hidden = hidden + table["positions"][None, : hidden.shape[1]]
    hidden = _norm(table["norm"], hidden)
    mask = jnp.where(inputs["tokens"] > 0, 0.0, -1e30).astype(dtype)[:, None, None]

    def layer(hidden, weights):
        q, k, v = (
            _plus(jnp.einsum("bqe,ehk->bqhk", hidden, weights[name]["kernel"]), weights[name])
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("bqhk,bmhk->bhqm", q, k) / q.shape[-1] ** 0.5
        context = jnp.einsum("bhqm,bmhk->bqhk", jax.nn.softmax(scores + mask), v)
        context = jnp.einsum("bqhk,hke->bqe", context, weights["out"]["kernel"])
        hidden = _norm(weights["attention_norm"], hidden + _plus(context, weights["out"]))
        inner = jax.nn.gelu(_dense(weights["up"], hidden), approximate=False)
        return _norm(weights["mlp_norm"], hidden + _dense(weights["down"], inner)), None

    hidden, _ = jax.lax.scan(layer, hidden, params["layers"])
    hidden = jnp.take_along_axis(hidden, inputs["positions"][..., None], axis=1)
    mlm = params["mlm"]
    hidden = _norm(mlm["norm"], jax.nn.gelu(_dense(mlm, hidden), approximate=False))
    return {"mlm_logits": hidden @ table["words"].T + mlm["output_bias"][None, None]}


def _dense(weights, x):
    return _plus(x @ weights["kernel"], weights)


def _norm(weights, x):
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + EPSILON)
    return _plus(centred * scale * weights["scale"][None, None], weights)


def _plus(x, weights):
    return x + weights["bias"][None, None]


def paths(nodes, is_leaf=None):
    """{"layers/up/kernel": leaf}."""
    pairs = jax.tree_util.tree_leaves_with_path(nodes, is_leaf=is_leaf)
    return {tree.path_name(path): leaf for path, leaf in pairs}
