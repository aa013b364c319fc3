"""Steps that the slow tests compile for four TPU v5e chips, each once for all of them.

python tests/planning/tpu_programs.py   # writes the golden list of collectives anew
"""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import plans

from bertgrow.planning import compiled, estimate

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "collectives.json"
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
    batch: int = 0
    remat: str = "none"


CASES = {
    "base": Case("bert_base", 0),
    "large": Case("bert_large_grow", 3, batch=512, remat="full"),
    "pooled": Case("bert_large_grow", 0, batch=512, remat="full"),
    "mobilebert": Case("mobilebert", 2, remat="full"),  # distillation, with its teacher
}
LISTED = ("base", "mobilebert")  # in the golden list


@functools.cache
def settings(name, mesh):
    """Settings of a case in bfloat16."""
    case, axes = CASES[name], MESHES[mesh]
    rows = ROWS * axes["data"] * axes["fsdp"]
    batch = case.batch or rows
    fields = [f"batch={batch}", f"accumulate={batch // rows}", f"model.remat={case.remat}"]
    fields += [f"mesh.{axis}={size}" for axis, size in axes.items()]
    if name == "mobilebert":
        fields += [f"stages[0].batch={batch}"]
    return plans.published(case.recipe, *(f"--config.{field}" for field in fields))


def orders(pairs):
    topology = compiled.resolve(TOPOLOGY)
    return [
        compiled.compile_order(settings(*pair), topology, CASES[pair[0]].stage, ("step",))
        for pair in pairs
    ]


@functools.cache
def step(name, mesh):
    """Figures of the compiled step of a case, as `programs.of_stage` yields them."""
    ((figures,),) = compiled.run_all(orders([(name, mesh)]))
    return figures


def planned(name, mesh):
    """The plan's figures of the memory of the same step."""
    return estimate.make(settings(name, mesh), chips=4)["stages"][CASES[name].stage]["memory"]


def collectives(name, mesh):
    """The collectives of a step as short lines, those that move most bytes first."""
    return [
        f"{each['count']} x {each['kind']} {each['dtype']}{list(each['shape'])}, "
        f"{each['bytes']:,} B"
        for each in step(name, mesh)["collectives"]
    ]


def listed(*names):
    """{case, mesh: lines} as the golden file holds them."""
    return {f"{name}, {mesh}": collectives(name, mesh) for name in names for mesh in MESHES}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(listed(*LISTED), indent=1) + "\n", "utf-8")
    print(GOLDEN)
