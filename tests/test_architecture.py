"""The arrows of docs/design.md hold: who may import whom, read from the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ISLANDS = ("nn", "growth", "data", "train")
FOUNDATION = {"contracts", "keys", "tree", "errors", "fields", "losses", "flops"}
STANDARD = {"jax", "numpy", "collections", "typing", "dataclasses", "difflib", "enum", "math"}
HOMES = {  # a package: where alone it may be imported
    "flax": ("bertgrow/nn/", "mobilebert/nn"),
    "orbax": ("bertgrow/train/checkpoint.py",),
    "grain": ("bertgrow/data/",),
    "sentencepiece": ("bertgrow/data/",),
    "tokenizers": ("bertgrow/data/",),
    "tensorflow_datasets": ("bertgrow/data/",),
    "ml_collections": ("bertgrow/recipes/",),
    "tensorflow": ("bertgrow/data/public.py",),
    "torch": (),
}


def sources():
    for folder in ("bertgrow", "mobilebert"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def imported(tree):
    """Dotted names of all that a module imports, `from a import b` as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("island", ISLANDS)
def test_an_island_imports_no_other_island_and_nothing_above_it(island):
    allowed = FOUNDATION | {island}

    wrong = [
        f"{path} imports {name}"
        for path, tree in sources()
        if path.startswith(f"bertgrow/{island}/")
        for name in imported(tree)
        if name.startswith("bertgrow.") and name.split(".")[1] not in allowed
    ]

    assert not wrong


def test_the_foundation_imports_only_itself():
    wrong = [
        f"{path} imports {name}"
        for path, tree in sources()
        if path in {f"bertgrow/{name}.py" for name in FOUNDATION}
        for name in imported(tree)
        if name.split(".")[0] not in STANDARD
        and not (name.startswith("bertgrow.") and name.split(".")[1] in FOUNDATION)
    ]

    assert not wrong


def test_each_heavy_package_has_one_home():
    wrong = [
        f"{path} imports {name}"
        for path, tree in sources()
        for name in imported(tree)
        for package, homes in HOMES.items()
        if name.split(".")[0] == package and not path.startswith(homes)
    ]

    assert not wrong


def test_the_guest_is_not_known_to_its_host():
    wrong = [
        f"{path} imports {name}"
        for path, tree in sources()
        if path.startswith("bertgrow/")
        for name in imported(tree)
        if name.startswith("mobilebert")
    ]

    assert not wrong
