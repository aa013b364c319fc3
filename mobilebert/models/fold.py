"""Folds NoNorm into the adjacent dense layers, for inference.

A NoNorm scales and shifts channels (Sun et al., 2020); the dense layer before it can do the
same. If a residual is added in between, its branch must be scaled too. Inside a block this
branch is narrow and short: it is scaled once by the product of all following gains, and the
layers that read it divide by them, so no multiplication remains. Between blocks the gain of
the residual stays a multiplication: the product of 24 gains would change the features of
every block, and their range.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from bertgrow.core import errors


def fold(params, config):
    """Removes every NoNorm of a network; one multiplication per block remains.

    Args:
      params: of a network with `norm` "none".
      config: its configuration.

    Returns:
      Parameters and configuration of the folded network. Outputs, features between blocks and
      attention are equal up to float32 rounding.
      Raises InputError if the norm is another one, or if a gain is not a valid divisor.
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
    """Scales everything before the embedding norm by the norm's gain."""
    scale, rest = weights["norm"]["scale"], {n: w for n, w in weights.items() if n != "norm"}
    tables = {name: weights[name] * scale[None] for name in ("positions", "types")}
    return rest | tables | {"trigram": _followed(weights["trigram"], weights["norm"])}


def fold_blocks(weights, attention_input):
    """Folds all blocks; every leaf has a leading axis `layers`.

    With gains g_a of the attention norm and g_1 ... g_n of the FFNs' norms, the input of FFN j
    is the bottleneck state times c_j = g_j ... g_n; the output of the bottleneck is scaled by
    g_a c_1.
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
    """Merges the following NoNorm, and a factor `times`, into a dense layer.

    Gains are [layers, ..., channels]; in the kernel the input axes precede the channels.
    """
    gain = norm["scale"] * times
    lifted = gain.reshape(*gain.shape[:-1], *_ones(dense["kernel"], gain), gain.shape[-1])
    bias = dense["bias"] * gain + norm["bias"] * times
    return {"kernel": dense["kernel"] * lifted, "bias": bias}


def _divided(dense, gain):
    """Divides the kernel of a dense layer by `gain`, the scale of its input."""
    lifted = gain.reshape(*gain.shape, *_ones(dense["kernel"], gain))
    return dense | {"kernel": dense["kernel"] / lifted}


def _ones(kernel, gain):
    return (1,) * (kernel.ndim - gain.ndim)


def _check_divisors(name, gains):
    """Raises InputError if gains [layers, ffn, channels] are not valid divisors."""
    with np.errstate(divide="ignore"):
        bad = np.argwhere(~np.isfinite(1 / np.asarray(gains)))
    if len(bad):
        layer, _, channel = bad[0]
        raise errors.InputError(
            f"fold: the gains of layers/{name} multiply to {gains[tuple(bad[0])]} in layer "
            f"{layer}, channel {channel}; what reads the channel divides by them: set them "
            "apart from zero, e.g. to 1e-6"
        )
