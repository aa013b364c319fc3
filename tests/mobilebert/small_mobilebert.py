"""Small student, its other wirings and its teacher, for checks by hand."""

import functools

import jax
import numpy as np

from mobilebert.distill import layer_losses
from mobilebert.models import presets
from mobilebert.models.config import MobileBertConfig
from mobilebert.models.mobilebert import network

SIZES = dict(
    vocab_size=100,
    num_layers=3,
    width=24,
    table_width=8,
    body_width=16,
    num_heads=2,
    ffn_width=32,
    max_length=32,
    dtype="float32",
)
TEACHER = dict(body_width=32, num_heads=2, ffn_width=64)
FORMS = {
    "student": {},
    "table1": dict(attention_input="input"),
    "tiny": dict(attention_input="bottleneck", num_ffns=2),
    "without_opt": dict(attention_input="input", norm="layer", activation="gelu_tanh"),
}


def config(**overrides):
    """A small student with the released wiring and two stacked FFNs."""
    return MobileBertConfig(**presets.mobilebert(**{**SIZES, "num_ffns": 2, **overrides}))


def teacher(**overrides):
    """A small teacher, as deep and wide between blocks as the student."""
    return MobileBertConfig(**presets.ib_bert_large(**{**SIZES, **TEACHER, **overrides}))


def form(name, **overrides):
    """The configuration of one of `FORMS`, or of the teacher."""
    return teacher(**overrides) if name == "teacher" else config(**FORMS[name] | overrides)


@functools.cache
def built(config):
    """The network, compiled once for all tests, and parameters away from where they start."""
    net = network(config)
    return net._replace(apply=jax.jit(net.apply)), trained(net)


def trained(net, seed=0):
    """Parameters whose every leaf, biases and norms too, is random.

    They are large enough for activations not to fade from block to block.
    """
    random = np.random.default_rng(seed)

    def at_leaf(path, leaf):
        start = 1.0 if path[-1].key == "scale" else 0.0
        return (start + 0.2 * random.standard_normal(leaf.shape)).astype(np.float32)

    shapes = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(at_leaf, shapes)


def transfer_losses(
    student, teacher, token_weights, *, num_layers, factors=None, features="split"
):
    """`layer_losses.total` of whole maps, and its terms by name."""
    hook = layer_losses.hook(token_weights, factors, features)
    terms = hook.features(student.features, teacher.features)
    terms |= hook.scores(student.scores, teacher.scores)
    return layer_losses.total(terms, num_layers, factors), terms
