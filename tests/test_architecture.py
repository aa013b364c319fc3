"""Tests of the package graph of docs/design.md against the imports, read with `ast`."""

import ast
import functools
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 7  # packages in the longest chain of imports

# A package, and the packages of bertgrow that it may import beside itself.
MAY_IMPORT = {
    "core": set(),
    "models": {"core"},
    "growth": {"core"},
    "data": {"core"},
    "train": {"core"},
    "objectives": {"core", "models", "growth", "data", "train"},
    "interop": {"core", "models", "data"},
    "recipes": {"core", "models", "growth", "data", "train", "objectives"},
    "teacher_cache": {"core", "data", "train"},
    "planning": {"core", "models", "growth", "train", "objectives", "teacher_cache"},
    "run": {
        "core",
        "models",
        "growth",
        "data",
        "train",
        "objectives",
        "recipes",
        "teacher_cache",
        "interop",
    },
    "inference": {"core", "data", "interop", "run"},
    "finetune": {
        "core",
        "models",
        "data",
        "train",
        "recipes",
        "interop",
        "run",
    },
    "reporting": {"core", "run"},
    "commands": {
        "core",
        "models",
        "data",
        "recipes",
        "run",
        "interop",
        "inference",
        "finetune",
        "planning",
        "reporting",
        "teacher_cache",
    },
}
HOMES = {  # a third-party package, and where alone it may be imported
    "flax": ("bertgrow/models/", "mobilebert/models/"),
    "orbax": ("bertgrow/train/checkpoints/",),
    "grain": ("bertgrow/data/",),
    "sentencepiece": ("bertgrow/data/",),
    "tokenizers": ("bertgrow/data/",),
    "tensorflow_datasets": ("bertgrow/data/",),
    "ml_collections": ("bertgrow/recipes/", "mobilebert/recipe.py"),
    "tensorflow": ("bertgrow/data/",),
    "sklearn": ("bertgrow/finetune/",),
    "torch": (),
}
CORE_MAY_IMPORT = {"jax", "numpy", "msgspec", "bertgrow"}


def sources(*folders):
    for folder in folders or ("bertgrow", "mobilebert"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def imported(tree):
    """Dotted names of everything a module imports, `from a import b` as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_imports():
    """Yields (package, imported package, file, imported name) inside bertgrow."""
    for path, tree in sources("bertgrow"):
        _, package, *rest = path.split("/")
        for name in imported(tree):
            root, _, inner = name.partition(".")
            target = inner.split(".")[0]
            if rest and root == "bertgrow" and target in MAY_IMPORT and target != package:
                yield package, target, path, name


def longest_chain(graph):
    """The longest path through an acyclic graph {package: set of packages}."""

    @functools.cache
    def below(package):
        chains = [below(target) for target in sorted(graph.get(package, ()))]
        return (package, *max(chains, key=len, default=()))

    return max((below(package) for package in graph), key=len)


def test_a_package_imports_only_what_the_design_allows():
    wrong = [
        f"{path} imports {name}"
        for package, target, path, name in package_imports()
        if target not in MAY_IMPORT[package]
    ]

    assert not wrong


def test_every_package_has_a_place_in_the_design():
    packages = {path.parent.name for path in (ROOT / "bertgrow").glob("*/__init__.py")}

    assert packages == set(MAY_IMPORT)


def test_the_longest_chain_of_packages_is_at_most_seven():
    graph = {}
    for package, target, *_ in package_imports():
        graph.setdefault(package, set()).add(target)

    chain = longest_chain(graph)

    assert len(chain) <= LONGEST, " -> ".join(chain)


def test_core_imports_nothing_but_jax_numpy_msgspec_and_the_standard_library():
    wrong = [
        f"{path} imports {name}"
        for path, tree in sources("bertgrow/core")
        for name in imported(tree)
        if name.split(".")[0] not in CORE_MAY_IMPORT | sys.stdlib_module_names
    ]

    assert not wrong


def test_each_heavy_package_is_imported_in_one_place():
    wrong = [
        f"{path} imports {name}"
        for path, tree in sources()
        for name in imported(tree)
        for package, homes in HOMES.items()
        if name.split(".")[0] == package and not path.startswith(homes)
    ]

    assert not wrong


@pytest.mark.parametrize("folder", ["bertgrow"])
def test_bertgrow_does_not_name_the_family_that_is_built_on_it(folder):
    wrong = [
        f"{path} imports {name}"
        for path, tree in sources(folder)
        for name in imported(tree)
        if name.startswith("mobilebert")
    ]

    assert not wrong
