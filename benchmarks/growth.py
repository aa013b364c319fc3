"""Measures one large sharded growth: BERT-base to 24 layers of width 1536, with Adam moments.

    python benchmarks/growth.py                        # compiles and prints the memory
    python benchmarks/growth.py --run --output cost.json    # also grows: about 11 GB in all

Uses eight devices, fsdp 4 x tensor 2: accelerators if present, else simulated ones.
"""

import argparse
import functools
import json

import jax
import jax.numpy as jnp

from bertgrow.core import types
from bertgrow.growth import in_place, registry, train_state
from bertgrow.models import bert
from bertgrow.train import loop, optimizers, sharding

SMALL = bert.BertConfig(
    vocab_size=30522, num_layers=12, width=768, num_heads=12, ffn_width=3072, next_sentence=True
)
LARGE = bert.BertConfig(
    vocab_size=30522,
    num_layers=24,
    width=1536,
    num_heads=24,
    ffn_width=6144,
    next_sentence=True,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="grow, not only compile")
    parser.add_argument("--width", default="equal", help="operator; default: equal")
    parser.add_argument("--moments", default="copy", help="policy; default: copy")
    parser.add_argument("--output", help="file for the result; default: only print it")
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 8)  # before JAX initialises its devices
    mesh = sharding.make_mesh(dict(data=1, fsdp=4, tensor=2))
    result = measure(mesh, args.run, width=args.width, moments=args.moments)
    text = json.dumps(result, indent=2)
    print(text)
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            file.write(text + "\n")


def measure(mesh, is_run, *, width, moments):
    """The cost in the format of a certificate; without `is_run`, the compiler's estimate."""
    tasks, networks = zip(*map(task, (SMALL, LARGE)), strict=True)
    optimizer = optimizers.make(optimizers.AdamW(), networks[0].axes, lambda step: 1e-4)
    growths = registry.between(bert.sizes(SMALL), bert.sizes(LARGE), width=width)
    grow = functools.partial(
        train_state.grow_state,
        growths=growths,
        axes=networks[0].axes,
        optimizer_init=optimizer.init,
        moments=moments,
    )
    after = sharding.state_shardings(tasks[1], optimizer, mesh)
    record = {
        "operators": [growth.describe for growth in growths],
        "moments": moments,
        "device": f"{mesh.size} x {jax.devices()[0].device_kind}",
        "mesh": dict(mesh.shape),
    }
    if is_run:
        before = sharding.state_shardings(tasks[0], optimizer, mesh)
        old = loop.initial_state(tasks[0], optimizer, jax.random.key(0), before)
        _, cost = in_place.grow_sharded(old, grow, after)
        return record | cost
    plan = in_place.make_plan(loop.state_shapes(tasks[0], optimizer, mesh), grow, after)
    return record | {
        "old_bytes": plan.old_bytes,
        "new_bytes": plan.new_bytes,
        "peak_bytes": plan.peak_bytes,
        "peak_source": "compiler",
    }


def task(config):
    """A task with `init` only; weights are one, since random draws take longer than growth."""
    network = bert.network(config)

    def init(key):
        shapes = jax.eval_shape(network.init, key)
        return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)

    return types.Task(init, None, None, None, network.axes), network


if __name__ == "__main__":
    main()
