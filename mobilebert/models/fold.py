"""Inference without NoNorm: gains and shifts go into the dense layers beside them.

A NoNorm multiplies and shifts channels ("NoNorm" of Sun et al., 2020), which a dense layer
before it can do by itself. Where a residual joins in between, its other branch has to be
multiplied too. Inside a block that branch is narrow and short: it is handed on already
multiplied by all gains still to come, what reads it divides by them, and nothing is left to
do. Between blocks the gain of the residual stays a multiplication: to hand products of 24
gains on would change the features, and their range, of every block.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors


def fold(params, config):
    """The same function with no NoNorm left but one multiplication a block.

    Args:
      params: of a network with `norm` "none".
      config: its configuration.

    Returns:
      Parameters and configuration of the folded network. Outputs, features between blocks and
      attention are equal up to the rounding of float32.
      Raises InputError where there is another norm, or a gain that cannot be divided by.
    """
    if config.norm != "none":
        raise errors.InputError(
            f"fold: norm is {config.norm!r}; expected 'none', whose gains and shifts do not "
            "depend on the input: fold a student with NoNorm"
        )
    folded = {
        "embeddings": fold_embeddings(params["embeddings"]),
        "layers": fold_blocks(params["layers"], config.attention_input),
    }
    return params | folded, dataclasses.replace(config, norm="folded")


def fold_embeddings(weights):
    """All that the embedding norm follows is multiplied by its gain."""
    scale, rest = weights["norm"]["scale"], {n: w for n, w in weights.items() if n != "norm"}
    tables = {name: weights[name] * scale[None] for name in ("positions", "types")}
    return rest | tables | {"trigram": _followed(weights["trigram"], weights["norm"])}


def fold_blocks(weights, attention_input):
    """Folds all blocks; every leaf has a leading axis `layers`.

    With gains g_a of the attention norm and g_1 ... g_n of the FFNs' norms, FFN j reads the
    body times c_j = g_j ... g_n, and the bottleneck hands on its output times g_a c_1.
    """
    gains = weights["mlp_norm"]["scale"]  # [layers, ffn, body]
    ahead = jnp.flip(jnp.cumprod(jnp.flip(gains, 1), axis=1), 1)
    after = jnp.concatenate([ahead[:, 1:], jnp.ones_like(ahead[:, :1])], axis=1)
    first = ahead[:, 0]
    entry = weights["attention_norm"]["scale"] * first

    _check_divisors("mlp_norm", ahead)
    folded = {
        "bottleneck": _followed(weights["bottleneck"], weights["bottleneck_norm"], entry),
        "out": _followed(weights["out"], weights["attention_norm"], first),
        "up": _divided(weights["up"], ahead),
        "down": _followed(weights["down"], weights["mlp_norm"], after),
        "expand": _followed(weights["expand"], weights["expand_norm"]),
        "expand_norm": {"scale": weights["expand_norm"]["scale"]},
    }
    if "shared" in weights:
        folded["shared"] = _followed(weights["shared"], weights["shared_norm"])
    if attention_input == "bottleneck":
        _check_divisors("attention_norm", entry[:, None])
        folded |= {name: _divided(weights[name], entry) for name in ("query", "key", "value")}
    rest = {name: w for name, w in weights.items() if not name.endswith("_norm")}
    return rest | folded


def _followed(dense, norm, times=1.0):
    """A dense layer that does the NoNorm behind it, and multiplies by `times`.

    Gains are [layers, ..., channels], the kernel has its inputs before the channels.
    """
    gain = norm["scale"] * times
    lifted = gain.reshape(*gain.shape[:-1], *_ones(dense["kernel"], gain), gain.shape[-1])
    bias = dense["bias"] * gain + norm["bias"] * times
    return {"kernel": dense["kernel"] * lifted, "bias": bias}


def _divided(dense, gain):
    """A dense layer that reads what has been multiplied by `gain`."""
    lifted = gain.reshape(*gain.shape, *_ones(dense["kernel"], gain))
    return dense | {"kernel": dense["kernel"] / lifted}


def _ones(kernel, gain):
    return (1,) * (kernel.ndim - gain.ndim)


def _check_divisors(name, gains):
    """Raises InputError where gains [layers, ffn, channels] cannot be divided by."""
    with np.errstate(divide="ignore"):
        bad = np.argwhere(~np.isfinite(1 / np.asarray(gains)))
    if len(bad):
        layer, _, channel = bad[0]
        raise errors.InputError(
            f"fold: the gains of layers/{name} multiply to {gains[tuple(bad[0])]} in layer "
            f"{layer}, channel {channel}; what reads the channel divides by them: set them "
            "apart from zero, e.g. to 1e-6"
        )
