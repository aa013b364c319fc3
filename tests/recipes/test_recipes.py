"""Tests of recipes: their resolved values are fixed, and errors name the mistake."""

import json
from pathlib import Path

import pytest

from bertgrow.core.errors import InputError
from bertgrow.recipes import load, resolve

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden")
RECIPES = [
    f"{name}{variant}"
    for name in (
        "bert_base", "bert_base_grow", "bert_base_stack",
        "bert_large", "bert_large_grow", "bert_large_stack",
    )
    for variant in ("", ":smoke")
] + [
    f"{name}{variant}"
    for name in ("ib_bert_large", "mobilebert", "mobilebert_tiny", "mobilebert_without_opt")
    for variant in ("", ":smoke", ":small")
] + ["ib_bert_large_grow", "ib_bert_large_grow:smoke"] + [
    f"mobilebert_objectives:{variant}" for variant in ("bare", "pd", "fmt", "at", "jkt", "akt")
] + [
    "demo:grow", "demo:scratch", "grow_from:tiny", "grow_from:base",
    "mini:grow", "mini:scratch", "mini:untrained",
    "study:full", "study:uneven", "study:equal", "study:normal", "study:stack",
]  # fmt: skip


def read(name, *given):
    file, _, variant = name.partition(":")
    return load.read(f"{ROOT}/configs/{file}.py:{variant}".rstrip(":"), list(given))


def described(name):
    """The resolved recipe as stable text."""
    run = resolve.resolve(read(name))
    stages = [
        f"stage {s.name}: steps {s.start}-{s.end}, {s.batch} rows of {s.length}, {s.model}"
        for s in run.stages
    ]
    return "\n".join([json.dumps(run.recipe, indent=1, sort_keys=True), *stages]) + "\n"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_resolves_to_what_its_golden_says(name):
    golden = GOLDEN / f"{name.replace(':', '_')}.txt"

    found = described(name)

    assert found == golden.read_text(), (
        "A default or a recipe changed. If that is meant, write the golden files again with "
        "`python tests/recipes/test_recipes.py` and say why in the commit."
    )


def test_variant_fast_has_no_attention_dropout_and_is_else_the_recipe():
    fast = read("bert_large_grow:fast")
    assert fast.model.attention_dropout == 0
    fast.model.attention_dropout = 0.1
    assert resolve.plain(fast) == resolve.plain(read("bert_large_grow"))


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith(":smoke")])
def test_a_smoke_recipe_keeps_every_transition(name):
    full, small = (resolve.resolve(read(n)) for n in (name.removesuffix(":smoke"), name))

    assert len(small.stages) == len(full.stages)
    for a, b in zip(full.stages, small.stages, strict=True):
        assert _keeps(a) == _keeps(b)
    assert _growing(full) == _growing(small)


def _growing(run):
    """Whether depth and length grow, at every hand-over."""
    sizes = [(stage.model.num_layers, stage.length) for stage in run.stages]
    return [
        (old[0] < new[0], old[1] < new[1]) for old, new in zip(sizes, sizes[1:], strict=False)
    ]


def _keeps(stage):
    """What a smaller recipe may not change; MobileBERT has no pooling between blocks."""
    return stage.task, stage.model.ffn_share, getattr(stage.model, "pool", 1)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda c: c.update(modle=1), "config.modle is no field.*'model'"),
        (lambda c: c.model.update(num_layer=3), "config.model.num_layer.*'num_layers'"),
        (
            lambda c: c.optimizer.update(name="adma"),
            "name is 'adma'; expected one of adamw, lamb",
        ),
        (lambda c: c.schedule.update(peek=1.0), "'peak'"),
        (lambda c: c.stages[0].update(stesp=3), "'steps'"),
        (
            lambda c: c.stages[0].update(steps=0),
            "steps is 0; expected a whole number of at least 1",
        ),
        (lambda c: c.eval.update(every=0), "at least 1"),
        (
            lambda c: c.masking.update(rate=1.5),
            "config.masking.rate is 1.5; expected a number above 0 and below 1",
        ),
        (lambda c: c.update(accumulate=3), "not divisible"),
    ],
)
def test_a_field_that_cannot_be_is_named_with_its_nearest(change, said):
    recipe = read("bert_base")
    with recipe.unlocked():
        change(recipe)

    with pytest.raises(InputError, match=said):
        resolve.resolve(recipe)


def test_a_recipe_that_fails_names_its_file(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def get_config(variant=''):\n    return ()[0]\n")

    with pytest.raises(InputError, match=r"broken\.py: IndexError: tuple index"):
        load.read(str(path), [])


@pytest.mark.parametrize(
    "recipe, known",
    [
        ("mobilebert:smal", "none, smoke, small"),
        ("ib_bert_large_grow:small", "none, smoke"),
        ("bert_base:small", "none, fast, smoke"),
        ("mobilebert_objectives:pkt", "bare, pd, fmt, at, jkt, akt"),
        ("demo:grown", "grow, scratch"),
    ],
)
def test_a_variant_that_is_not_there_is_said_so(recipe, known):
    with pytest.raises(InputError, match=f"'{recipe.split(':')[1]}' of a recipe.*{known}$"):
        read(recipe)


def test_a_recipe_that_is_not_there_is_said_so():
    with pytest.raises(InputError, match="not a file"):
        load.read("configs/nowhere.py", [])


if __name__ == "__main__":
    for recipe_name in RECIPES:
        path = GOLDEN / f"{recipe_name.replace(':', '_')}.txt"
        path.write_text(described(recipe_name))
