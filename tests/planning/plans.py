"""Plans of small and published recipes for tests."""

from pathlib import Path

from bertgrow.models import families
from bertgrow.planning import estimate
from bertgrow.recipes import load, resolve

SMALL_RECIPE = str(Path(__file__).resolve().parents[1] / "small_recipe.py")
SMALL = [SMALL_RECIPE, "--config.data.vocab_size=400"]
MODEL = (
    "num_layers=4", "width=128", "num_heads=2", "ffn_width=512", "vocab_size=1000",
    "max_length=64",
)  # fmt: skip


def published(name, *overrides, dtype="bfloat16"):
    """Settings of a recipe of the package on a device."""
    return estimate.in_dtype(resolve.resolve(load.read(name, list(overrides))), dtype)


def one_stage(*overrides, **model):
    """Settings and family of a recipe with one stage of 8 sequences of 64 tokens."""
    model = {"dtype": "float32"} | model
    fields = [*MODEL, *(f"{name}={value}" for name, value in model.items())]
    fields = [f"--config.model.{field}" for field in fields]
    fields += ["--config.length=64", "--config.batch=8", *overrides]
    return resolve.resolve(load.read("bert_base", fields)), families.find("bert")
