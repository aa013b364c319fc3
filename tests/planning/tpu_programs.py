"""Steps that the slow tests compile for four TPU v5e chips, each once for all of them.

python tests/planning/tpu_programs.py   # writes the golden list of collectives anew
"""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import jax
import plans

from bertgrow.core.types import StageContext
from bertgrow.models import families
from bertgrow.objectives import stages
from bertgrow.planning import calibration, compiled, estimate, memory
from bertgrow.train import sharding

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "collectives.json"
COMMAND = "python tests/planning/tpu_programs.py"
TOPOLOGY, ROWS = "v5e:2x2", 32  # sequences of a micro-batch on one chip
MESHES = {
    "data": dict(data=4, fsdp=1, tensor=1),
    "fsdp": dict(data=1, fsdp=4, tensor=1),
    "tensor": dict(data=1, fsdp=2, tensor=2),
}


class Case(NamedTuple):
    """A stage of a recipe; `batch` 0 is one micro-batch on each chip."""

    recipe: str
    stage: int
    meshes: tuple
    batch: int = 0
    remat: str = "none"


CASES = {
    "base": Case("bert_base", 0, ("data", "fsdp", "tensor")),
    "large": Case("bert_large", 0, ("fsdp",), batch=512, remat="full"),
    # Distillation, with its teacher.
    "mobilebert": Case("mobilebert", 2, ("fsdp",), batch=256, remat="full"),
}
PAIRS = tuple((name, mesh) for name, case in CASES.items() for mesh in case.meshes)


@functools.cache
def settings(name, mesh):
    """Settings of a case in bfloat16."""
    case, axes = CASES[name], MESHES[mesh]
    rows = ROWS * axes["data"] * axes["fsdp"]
    batch = case.batch or rows
    fields = [f"batch={batch}", f"accumulate={batch // rows}", f"model.remat={case.remat}"]
    fields += [f"mesh.{axis}={size}" for axis, size in axes.items()]
    if name == "mobilebert":  # the teacher's stage has a batch of its own
        fields += [f"stages[0].batch={batch}"]
    return plans.published(case.recipe, *(f"--config.{field}" for field in fields))


@functools.cache
def steps():
    """{(case, mesh): figures of the compiled step, as `programs.of_stage` yields them}."""
    topology = compiled.resolve(TOPOLOGY)
    orders = [
        compiled.compile_order(settings(*pair), topology, CASES[pair[0]].stage, ("step",))
        for pair in PAIRS
    ]
    results = compiled.run_all(orders)
    return {pair: figures for pair, (figures,) in zip(PAIRS, results, strict=True)}


def weights(name):
    """Shapes of the trained and of the frozen weights of a case."""
    case, config = CASES[name], settings(name, "fsdp")
    vocab = calibration.vocabulary(config.model.vocab_size)
    context = StageContext(families.find(config.family), config, case.stage, vocab)
    stage = stages.make_one(context)
    mesh = sharding.abstract_mesh(MESHES["fsdp"], 4)
    trained = jax.eval_shape(stage.task.init, jax.random.key(0))
    trees = trained, memory.frozen(stage, mesh)
    return [[leaf.shape for leaf in jax.tree.leaves(each)] for each in trees]


@functools.cache
def planned(name, mesh):
    """The plan's figures of the memory of the same step."""
    return estimate.make(settings(name, mesh), chips=4)["stages"][CASES[name].stage]["memory"]


def listed(name, mesh):
    """The collectives of a step as lines, those that move most bytes first."""
    return [
        f"{each['count']} x {each['kind']} {each['dtype']}{list(each['shape'])}, "
        f"{each['bytes']:,} B"
        for each in steps()[name, mesh]["collectives"]
    ]


def golden():
    """{"case, mesh": lines} as the golden file holds them."""
    return json.loads(GOLDEN.read_text("utf-8"))


if __name__ == "__main__":
    lists = {f"{name}, {mesh}": listed(name, mesh) for name, mesh in PAIRS}
    GOLDEN.write_text(json.dumps(lists, indent=1) + "\n", "utf-8")
    print(GOLDEN)
