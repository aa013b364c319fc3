"""Output heads for fine-tuning, on top of a pre-trained network of any family."""

import jax
import jax.numpy as jnp

from bertgrow.core.types import Network
from bertgrow.models import layers

NAME = "task_head"  # of the module in the parameter tree
DROPOUT = 0.1  # of a classifier's input, as in Google's code of BERT and MobileBERT
PADDING_LOGIT = -1e9  # of spans that begin or end at padding
_DROPOUT_KEY = 1_000_003  # folded into the dropout keys of the network


def classifier(network, *, width, outputs, scale=0.02):
    """Adds a linear layer on the vector of the first token.

    That vector is pooled where the model has a pooler, and the hidden state of [CLS] in
    MobileBERT's students, which have none.

    Args:
      network: `Network`.
      width: of its hidden states.
      outputs: number of classes, or 1 for a score.
      scale: standard deviation of the initial weights.

    Returns:
      `Network`, which also gives `task_logits`, float32 [batch, outputs].
    """

    def logits(weights, hidden, keys):
        first = hidden["first_token"].astype(jnp.float32)
        (seed,) = (None,) if keys is None else layers.dropout_seeds(keys, 1)
        return layers.dense(weights, layers.dropout(first, seed, DROPOUT))

    return _add(network, logits, width, outputs, scale)


def spans(network, *, width, outputs=2, scale=0.02):
    """Adds a linear layer on every token: logits of the start and the end of an answer.

    Returns:
      `Network`, which also gives `task_logits`, float32 [batch, length, 2], which is
      `PADDING_LOGIT` at padding.
    """

    def logits(weights, hidden, keys):
        del keys
        scores = layers.dense(weights, hidden["hidden"].astype(jnp.float32))
        return jnp.where(hidden["mask"][..., None], scores, PADDING_LOGIT)

    return _add(network, logits, width, outputs, scale)


HEADS = {"classifier": classifier, "spans": spans}


def _add(network, logits, width, outputs, scale):
    def init(key):
        shape = (width, outputs)
        drawn = jax.random.truncated_normal(jax.random.fold_in(key, 1), -2, 2, shape)
        head = {"kernel": scale * drawn, "bias": jnp.zeros(outputs)}
        return network.init(key) | {NAME: head}

    def apply(params, inputs, keys=None):
        body = {name: weights for name, weights in params.items() if name != NAME}
        hidden, head_keys = network.apply(body, inputs, keys), None
        if keys is not None:
            head_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, _DROPOUT_KEY)
        return hidden | {"task_logits": logits(params[NAME], hidden, head_keys)}

    head_axes = {"kernel": jax.P("embed_in", "classes"), "bias": jax.P("classes")}
    return Network(init, apply, network.axes | {NAME: head_axes})
