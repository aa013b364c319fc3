"""Child process: compiles every stage of a recipe for TPU chips that are not attached.

    python tests/compile_for_tpu.py v5e:2x2 RECIPE [--config.FIELD=VALUE ...]

One JSON line a stage. It is a process of its own because libtpu takes over the handling of
signals, and only one process may hold it unless told otherwise.
"""

import json
import os
import sys
import time

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # there is no machine of Google's to ask
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
# A pooled stage with dropout, remat and fsdp overflows the small stacks that the compiler
# gives its fibers (libtpu 0.0.42.1, at every level of optimisation).
os.environ["LIBTPU_INIT_ARGS"] = "--fibers_default_thread_stack_size=8388608"

import jax  # noqa: E402
from jax.experimental import topologies  # noqa: E402

from bertgrow.models import families
from bertgrow.objectives import stages  # noqa: E402
from bertgrow.planning import calibration, estimate
from bertgrow.recipes import load, resolve  # noqa: E402
from bertgrow.train import loop, sharding  # noqa: E402

# Optimising as for a real run takes five times as long to compile, and found programs that
# take up to 1.4 times the temporary memory.
jax.config.update("jax_optimization_level", "O1")


def main(topology, recipe, *fields):
    settings = estimate.in_dtype(resolve.resolve(load.read(recipe, fields)), "bfloat16")
    vocab = calibration.vocabulary(settings.model.vocab_size)
    todo = stages.make(settings, families.find(settings.family), vocab)
    chips = topologies.get_topology_desc(topology, "tpu").devices
    mesh = sharding.make_mesh(vars(settings.mesh), devices=chips)
    for stage in todo:
        figures = compiled(stage, mesh, vocab.size, settings.accumulate)
        print(json.dumps(dict(stage=stage.name) | figures), flush=True)


def compiled(stage, mesh, vocab_size, accumulate):
    """Compiles one train step; returns bytes on a chip, and those of the state on one chip."""
    begun = time.monotonic()
    state = loop.state_shapes(stage.task, stage.optimizer, mesh)
    where = sharding.batch_sharding(mesh)
    batch = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where),
        calibration.random_batch(stage.batch, stage.length, vocab_size),
    )
    step = loop.compile_step(
        stage.task, stage.optimizer, state, batch, mesh, accumulate=accumulate
    )
    memory = step.memory_analysis()
    arguments, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return dict(
        arguments=arguments,
        temporary=temporary,
        total=arguments + outputs + temporary + memory.generated_code_size_in_bytes,
        donated=memory.alias_size_in_bytes,
        state=_bytes(jax.tree.leaves(state)),
        batch=_bytes(jax.tree.leaves(batch)),
        rows=stage.batch // accumulate // (mesh.shape["data"] * mesh.shape["fsdp"]),
        seconds=time.monotonic() - begun,
    )


def _bytes(leaves):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


if __name__ == "__main__":
    main(*sys.argv[1:])
