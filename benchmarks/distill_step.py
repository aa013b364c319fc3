"""What a step of layer transfer costs: against its parts, and with the end at the active layer.

    python benchmarks/distill_step.py                    # two cores do it; minutes
    python benchmarks/distill_step.py --full --batch 32  # IB-BERT-large and MobileBERT

The parts are an encoder-only forward pass of the teacher and an encoder-only step of the
student: forward, backward, update; no heads, no comparison. With early exit, a turn is one
step of every phase; without, as many steps of joint transfer, which compares all layers.
"""

import argparse
import functools
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import rounds

from bertgrow import calibration, config, families, recipe, stages
from bertgrow.contracts import Task
from bertgrow.train import loop, sharding
from mobilebert import nn, presets
from mobilebert import recipe as students

SMALL = dict(vocab_size=1000, num_layers=6, width=128, table_width=32, max_length=128)
STUDENT, TEACHER = dict(body_width=32, ffn_width=128), dict(body_width=256, ffn_width=1024)
GOAL = 1.10  # times the parts, at most


def main():
    args = arguments()
    settings = resolved(args)
    teacher, joint, progressive = settings.stages
    depth, length = joint.model.num_layers, args.length
    print(f"device: {jax.devices()[0].device_kind}, jax {jax.__version__}")
    family = families.find(settings.family)
    made = stages.make(settings, family, calibration.vocabulary(joint.model.vocab_size))
    sides, names = build(settings, made, args), ("teacher forward", "student step")
    rates = rounds.alternate({name: turn(depth) for name, turn in sides.items()}, args.rounds)
    rounds.show(f"{depth} layers, {args.batch} rows of {length}", rates, "steps/s")

    seconds = {name: [1 / rate for rate in values] for name, values in rates.items()}
    parts = [sum(pair) for pair in zip(*(seconds[name] for name in names), strict=True)]
    found = dict(
        over_parts=over(seconds["transfer, all layers"], parts),
        early_exit=over(seconds["transfer, phases"], seconds["transfer, all layers"]),
        early_exit_flops=made[2].flops / made[1].flops,
    )
    verdict = "met" if found["over_parts"] <= GOAL else "missed"
    print(
        f"transfer step / teacher forward + student step ... {found['over_parts']:.2f}x"
        f"   (at most {GOAL:.2f}x: {verdict})"
    )
    print(f"phases with early exit / without ... {found['early_exit']:.2f}x")
    print(f"the same in FLOPs ... {found['early_exit_flops']:.2f}x")
    rounds.finish(found | dict(seconds=seconds), as_json=args.json)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="published sizes, 24 layers")
    parser.add_argument("--batch", type=int, default=8, help="rows a step; 8")
    parser.add_argument("--length", type=int, default=128, help="tokens a row; 128")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every side; 7")
    parser.add_argument("--json", action="store_true", help="results as JSON, the last line")
    return parser.parse_args()


def resolved(args):
    """A recipe of a teacher, joint and progressive transfer, as `RunConfig`."""
    sizes = {} if args.full else SMALL
    made = students.distillation(presets.mobilebert(**sizes, **({} if args.full else STUDENT)))
    made.update(batch=args.batch, length=args.length)
    fields = {name: size for name, size in sizes.items() if name not in students.SHARED}
    teacher = students.teacher(batch=args.batch, **fields, **({} if args.full else TEACHER))
    steps = 100 * made.model.num_layers
    made.stages = recipe.stages(
        teacher, dict(task="joint", steps=steps), students.progressive(steps=steps)
    )
    return config.resolve(made)


def build(settings, made, args):
    """{name: function of the depth that gives the turn of a side}, compiled and warm."""
    mesh = sharding.make_mesh()
    batch = calibration.random_batch(args.batch, args.length, settings.model.vocab_size)
    batch = sharding.put(batch, mesh)
    model = settings.stages[0].model
    frozen = jax.jit(nn.network(model).init)(jax.random.key(1))
    joint, progressive = (
        each._replace(task=each.task._replace(frozen=frozen)) for each in made[1:]
    )
    alone = joint._replace(task=encoder_only(joint.task, settings.model))
    starts = [stage.start for stage in settings.stages]
    trained = {
        "transfer, all layers": Trained(joint, starts[1], mesh, batch),
        "transfer, phases": Trained(progressive, starts[2], mesh, batch),
        "student step": Trained(alone, starts[1], mesh, batch),
    }
    forward = jax.jit(lambda params, batch: encoded(nn.network(model), params, batch))
    return {
        "teacher forward": lambda depth: functools.partial(
            repeat, forward, frozen, batch, depth
        )
    } | {name: side.turn for name, side in trained.items()}


class Trained:
    """The state of a stage and the compiled step between two states."""

    def __init__(self, stage, start, mesh, batch):
        self.stage, self.start, self.batch = stage, start, batch
        self.frozen = loop.on_mesh(stage.task.frozen, mesh)
        stage = stage._replace(task=stage.task._replace(frozen=self.frozen))
        where = sharding.state_shardings(stage.task, stage.optimizer, mesh)
        self.state = loop.initial_state(stage.task, stage.optimizer, jax.random.key(0), where)
        self.step = loop.compile_step(stage.task, stage.optimizer, self.state, batch, mesh)

    def turn(self, depth):
        """A function that does one step in each of `depth` equal parts of the stage."""
        self._run(depth)
        return functools.partial(self._run, depth)

    def _run(self, depth):
        for part in range(depth):
            now = self.start + (2 * part + 1) * self.stage.steps // (2 * depth)
            place = self.state.step.sharding
            self.state = self.state._replace(step=jax.device_put(np.int32(now), place))
            self.state, _ = self.step(self.state, self.frozen, self.batch)
        jax.block_until_ready(self.state)
        return depth


def encoder_only(task, model):
    """The student's encoder under a loss that costs nothing."""

    def loss(params, frozen, inputs, key, step):
        del frozen, key, step
        features = encoded(nn.network(model), params, inputs)
        return jnp.square(features.astype(jnp.float32)).mean(), {}

    return Task(task.init, task.prepare, loss, None, task.axes)


def encoded(network, params, inputs):
    """The last features, [batch, length, width]; without positions there is no head."""
    return network.apply(params, {name: inputs[name] for name in ("tokens", "types")})["hidden"]


def repeat(function, params, batch, times):
    for _ in range(times):
        jax.block_until_ready(function(params, batch))
    return times


def over(ours, theirs):
    """Median over rounds of how many times as long `ours` took."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
