"""Times a step of layer transfer against its parts, with early exit and from a cache.

    python benchmarks/distill_step.py                       # published widths, 4 layers
    python benchmarks/distill_step.py --narrow              # bodies of 256 and 32, 6 layers
    python benchmarks/distill_step.py --layers 24 --batch 32  # full size; for an accelerator

The parts are an encoder-only forward pass of the teacher and an encoder-only step of the
student: forward, backward, update; no heads, no transfer losses. A round of early exit runs
one step of every phase. A round of joint transfer runs as many steps, with the losses of all
layers. With a cache, a step of joint transfer reads its targets from files, in the dtypes of
the recipe, and copies them to the device; the teacher does not run.
"""

import argparse
import functools
import statistics
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import rounds

from bertgrow.core.types import Task
from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.planning import calibration
from bertgrow.recipes import build as recipe
from bertgrow.recipes import resolve
from bertgrow.teacher_cache import entries
from bertgrow.train import loop, sharding
from mobilebert import recipe as students
from mobilebert.models import mobilebert, presets

VOCAB_SIZE = 1000  # a transfer step does not run the heads
NARROW = dict(width=128, table_width=32, max_length=128)
STUDENT, TEACHER = dict(body_width=32, ffn_width=128), dict(body_width=256, ffn_width=1024)
PARTS, TRANSFER = ("teacher forward", "student step"), ("all layers", "phases", "from a cache")
GOAL = 1.10  # maximum ratio to the parts


def main():
    args = arguments()
    settings = resolved(args)
    models = [stage.model for stage in settings.stages[:2]]
    family = families.find(settings.family)
    made = stages.make(settings, family, calibration.vocabulary(models[1].vocab_size))
    with tempfile.TemporaryDirectory() as folder:
        sides = build(settings, made, args, folder)
        turns = {name: turn(models[1].num_layers) for name, turn in sides.items()}
        rates = rounds.alternate(turns, args.rounds)

    print(f"device: {jax.devices()[0].device_kind}, jax {jax.__version__}")
    bodies = " and ".join(str(model.body_width) for model in models)
    sizes = f"{models[1].num_layers} layers of width {models[1].width}, bodies {bodies}"
    rounds.show(f"{sizes}; {args.batch} rows of {args.length}", rates, "steps/s")
    results = ratios(rates) | dict(early_exit_flops=made[2].flops / made[1].flops)
    show(results, entry_bytes=layout(made[1]).entry_bytes)
    rounds.finish(results | dict(rates=rates), as_json=args.json)


def ratios(rates):
    """Time of each kind of transfer step relative to its parts, and of phases to all layers."""
    seconds = {name: [1 / rate for rate in values] for name, values in rates.items()}
    parts = [sum(pair) for pair in zip(*(seconds[name] for name in PARTS), strict=True)]
    results = {name: over(seconds[name], parts) for name in TRANSFER}
    results["early exit"] = over(seconds["phases"], seconds["all layers"])
    return results


def show(results, entry_bytes):
    """Prints each ratio, the first one with its target."""
    verdict = "met" if results["all layers"] <= GOAL else "missed"
    print(f"a step of transfer / ({' + '.join(PARTS)}):")
    print(f"  all layers ... {results['all layers']:.2f}x   (at most {GOAL:.2f}x: {verdict})")
    print(f"  phases, which end at the active layer ... {results['phases']:.2f}x")
    print(
        f"  from a cache, all layers, {entry_bytes / 1e6:.2f} MB a row ... "
        f"{results['from a cache']:.2f}x"
    )
    print(
        f"phases / all layers ... {results['early exit']:.2f}x "
        f"(in FLOPs {results['early_exit_flops']:.2f}x)"
    )


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--narrow", action="store_true", help="bodies of 256 and 32")
    parser.add_argument("--layers", type=int, help="of both; 4, or 6 with --narrow")
    parser.add_argument("--batch", type=int, default=8, help="rows a step; 8")
    parser.add_argument("--length", type=int, default=128, help="tokens a row; 128")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every side; 7")
    parser.add_argument("--json", action="store_true", help="results as JSON, the last line")
    return parser.parse_args()


def resolved(args):
    """`RunConfig` of a recipe with a teacher, joint transfer and progressive transfer."""
    sizes = dict(num_layers=args.layers or (6 if args.narrow else 4))
    sizes |= NARROW if args.narrow else {}
    student, teacher = (STUDENT, TEACHER) if args.narrow else ({}, {})
    made = students.distillation(presets.mobilebert(vocab_size=VOCAB_SIZE, **sizes, **student))
    made.update(batch=args.batch, length=args.length)
    fields = {name: size for name, size in sizes.items() if name not in students.SHARED}
    teacher = students.teacher(batch=args.batch, **fields, **teacher)
    steps = 100 * made.model.num_layers
    made.stages = recipe.stages(
        teacher, dict(task="joint", steps=steps), students.progressive(steps=steps)
    )
    return resolve.resolve(made)


def build(settings, made, args, folder):
    """Builds {name: function depth -> function to time}, compiled and warmed up."""
    mesh = sharding.make_mesh()
    batch = calibration.random_batch(args.batch, args.length, settings.model.vocab_size)
    batch = sharding.put(batch, mesh)
    model = settings.stages[0].model
    frozen = jax.jit(mobilebert.network(model).init)(jax.random.key(1))
    joint, progressive = (
        each._replace(task=each.task._replace(frozen=frozen)) for each in made[1:]
    )
    alone = joint._replace(task=encoder_only(joint.task, settings.model))
    starts = [stage.start for stage in settings.stages]
    trained = {
        "all layers": Trained(joint, starts[1], mesh, batch),
        "from a cache": Cached(made[1], starts[1], mesh, batch, frozen, folder),
        "phases": Trained(progressive, starts[2], mesh, batch),
        "student step": Trained(alone, starts[1], mesh, batch),
    }
    forward = jax.jit(lambda params, batch: encoded(mobilebert.network(model), params, batch))
    return {
        "teacher forward": lambda depth: functools.partial(
            repeat, forward, frozen, batch, depth
        )
    } | {name: side.turn for name, side in trained.items()}


class Trained:
    """The train state of a stage and its compiled step."""

    def __init__(self, stage, start, mesh, batch):
        self.stage, self.start, self.batch = stage, start, batch
        self.frozen = loop.on_mesh(stage.task.frozen, mesh)
        stage = stage._replace(task=stage.task._replace(frozen=self.frozen))
        shardings = sharding.state_shardings(stage.task, stage.optimizer, mesh)
        self.state = loop.initial_state(
            stage.task, stage.optimizer, jax.random.key(0), shardings
        )
        self.step = loop.compile_step(stage.task, stage.optimizer, self.state, batch, mesh)

    def turn(self, depth):
        """Returns a function that runs one step in each of `depth` equal parts of the stage."""
        self._run(depth)
        return functools.partial(self._run, depth)

    def _run(self, depth):
        for part in range(depth):
            step = self.start + (2 * part + 1) * self.stage.steps // (2 * depth)
            place = self.state.step.sharding
            self.state = self.state._replace(step=jax.device_put(np.int32(step), place))
            self.state, _ = self.step(self.state, self.frozen, self._read())
        jax.block_until_ready(self.state)
        return depth

    def _read(self):
        return self.batch


class Cached(Trained):
    """The same without a teacher: each step reads cached targets of its sequences."""

    def __init__(self, stage, start, mesh, batch, frozen, folder):
        targets, file_layout = stage.targets, layout(stage)
        self.mesh, self.rows = mesh, stage.batch
        (file,) = file_layout.parts()

        @jax.jit
        def teacher_outputs(frozen, batch):
            return targets.make(frozen, stage.task.prepare(batch), np.int32(0))

        arrays = jax.device_get(teacher_outputs(frozen, batch))
        entries.write(Path(folder) / file.name, entries.records(arrays, file_layout.fields))
        self.entries, self.inputs = entries.Entries(folder, file_layout, first=0), batch
        super().__init__(stage._replace(task=targets.task), start, mesh, self._read())

    def _read(self):
        return self.inputs | sharding.put(self.entries(np.arange(self.rows)), self.mesh)


def layout(stage):
    """File layout of the targets of one step."""
    return entries.layout(stage.targets.fields, phases=1, rows=stage.batch, batch=stage.batch)


def encoder_only(task, model):
    """Task of the student's encoder alone, with a loss of negligible cost."""

    def loss(params, frozen, inputs, keys, step):
        del frozen, keys, step
        still = jax.lax.stop_gradient(params["embeddings"])  # as in layer transfer
        features = encoded(mobilebert.network(model), params | {"embeddings": still}, inputs)
        return jnp.square(features.astype(jnp.float32)).mean(), {}

    return Task(task.init, task.prepare, loss, None, task.axes)


def encoded(network, params, inputs):
    """The final hidden states, [batch, length, width]; without positions no head runs."""
    return network.apply(params, {name: inputs[name] for name in ("tokens", "types")})["hidden"]


def repeat(function, params, batch, times):
    jax.block_until_ready([function(params, batch) for _ in range(times)])
    return times


def over(seconds, others):
    """Median over rounds of the time of `seconds` divided by that of `others`."""
    return statistics.median(a / b for a, b in zip(seconds, others, strict=True))


if __name__ == "__main__":
    main()
