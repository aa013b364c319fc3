"""Task with a few hundred weights and every kind of axis, and its batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bertgrow.core.types import Task
from bertgrow.train import loop, optimizers, schedules, sharding

MESH_8 = {"data": 2, "fsdp": 2, "tensor": 2}
LAYERS, VOCAB, EMBED, MLP, LENGTH, BATCH = 2, 24, 8, 16, 6, 16

AXES = {
    "words": jax.P("vocab", "embed"),
    "layers": {
        "up": {"kernel": jax.P("layers", "embed_in", "mlp"), "bias": jax.P("layers", "mlp")},
        "down": {
            "kernel": jax.P("layers", "mlp_in", "embed"),
            "bias": jax.P("layers", "embed"),
        },
        "norm": {"scale": jax.P("layers", "embed")},
    },
    "output_bias": jax.P("vocab"),
}


def init(key):
    """Waves, shifted by the key: JAX's own random numbers take seconds to compile."""
    shift = jax.random.key_data(key)[0] % 1000

    def wave(*shape):
        numbers = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)
        return 0.3 * jnp.sin(12.9898 * numbers + shift)

    return {
        "words": wave(VOCAB, EMBED),
        "layers": {
            "up": {"kernel": wave(LAYERS, EMBED, MLP), "bias": jnp.zeros((LAYERS, MLP))},
            "down": {"kernel": wave(LAYERS, MLP, EMBED), "bias": jnp.zeros((LAYERS, EMBED))},
            "norm": {"scale": jnp.ones((LAYERS, EMBED))},
        },
        "output_bias": jnp.zeros((VOCAB,)),
    }


def prepare(batch):
    """Hides about a third of each row; the weights of what is hidden sum to one."""
    places = jnp.arange(LENGTH, dtype=jnp.uint32)[None]
    hidden = (batch["ids"][:, 1:] * 40503 + places * 9973) % 7 < 2
    hidden = hidden.at[:, 0].set(True)
    return {
        "tokens": jnp.where(hidden, 0, batch["tokens"]),
        "targets": batch["tokens"],
        "weights": (hidden / jnp.sum(hidden)).astype(jnp.float32),
    }


def logits(params, tokens, keys, dropout):
    x = params["words"][tokens]
    keep = functools.partial(jax.random.bernoulli, p=1 - dropout, shape=(1, 1))
    kept = jax.vmap(keep)(keys)  # of whole sequences

    def layer(x, weights):
        h = jax.nn.gelu(x @ weights["up"]["kernel"] + weights["up"]["bias"][None, None])
        h = jnp.where(kept, h, 0) / (1 - dropout)
        h = h @ weights["down"]["kernel"] + weights["down"]["bias"][None, None]
        return (x + h) * weights["norm"]["scale"][None, None], None

    x, _ = jax.lax.scan(layer, x, params["layers"])
    x = x + x.mean(axis=1, keepdims=True)
    return x @ params["words"].T + params["output_bias"][None, None]


def task(dropout=0.1, on_trace=lambda: None):
    """`on_trace` is called whenever the step is traced."""

    def counted(batch):
        on_trace()
        return prepare(batch)

    def loss(params, frozen, inputs, keys, step):
        scores = jax.nn.log_softmax(logits(params, inputs["tokens"], keys, dropout))
        right = jnp.take_along_axis(scores, inputs["targets"][..., None], axis=-1)[..., 0]
        hits = (scores.argmax(-1) == inputs["targets"]) * inputs["weights"]
        return -jnp.sum(right * inputs["weights"]), {"accuracy": jnp.sum(hits)}

    def evaluate(params, frozen, batch):
        inputs = prepare(batch)
        num = len(batch["tokens"])
        value, _ = loss(params, frozen, inputs, jax.random.split(jax.random.key(0), num), 0)
        return {"loss": (value * num, num)}

    return Task(init, counted, loss, evaluate, AXES)


def batches(row=0, batch=BATCH):
    """Endless (batch, position) from row number `row`; a row depends on its number only."""
    while True:
        tokens, ids = [], []
        for number in range(row, row + batch):
            start = np.random.default_rng(number).integers(1, VOCAB)
            tokens.append((start + 3 * np.arange(LENGTH)) % (VOCAB - 1) + 1)
            ids.append((1, number))
        row += batch
        rows = {"tokens": np.array(tokens, np.int32), "ids": np.array(ids, np.uint32)}
        yield rows, {"row": row}


def optimizer(peak=1e-2, total=40):
    learning_rate = schedules.default(peak=peak, total=total, warmup=4)
    return optimizers.make(optimizers.AdamW(), AXES, learning_rate)


def mesh(spec=None):
    """Mesh of the first devices; one device by default."""
    spec = spec or {"data": 1}
    return sharding.make_mesh(spec, jax.devices()[: np.prod(list(spec.values()))])


def first_state(mesh):
    """First state of the default task and optimizer on a mesh."""
    shardings = sharding.state_shardings(task(), optimizer(), mesh)
    return loop.initial_state(task(), optimizer(), jax.random.key(0), shardings)


def shapes(mesh):
    """State of shapes of the default task and optimizer, for restoring."""
    return loop.state_shapes(task(), optimizer(), mesh)


def arrays(state):
    """All arrays of a state, on the host."""
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
