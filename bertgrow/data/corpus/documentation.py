"""The default corpus: docstrings of the standard library and of the installed packages."""

import ast
import functools
import sysconfig
import warnings
from pathlib import Path

SHORTEST = 200  # characters; modules that say less are left out
SHARE = 8  # a module is about this many times as long as its documentation
PACKAGES = ("site-packages", "dist-packages")
NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def modules():
    """Names of all Python files that may document something, sorted, e.g. `stdlib/ast.py`."""
    found = set()
    for key, root in _roots().items():
        for path in root.rglob("*.py"):
            inner = path.relative_to(root)
            if key != "stdlib" or not set(inner.parts) & set(PACKAGES):
                found.add(f"{key}/{inner.as_posix()}")
    return sorted(found)


def locate(name):
    """The path of a module that `modules` named."""
    key, inner = name.split("/", 1)
    return _roots()[key] / inner


def weight(name):
    """About how many characters of documentation a module has, without reading it."""
    return locate(name).stat().st_size // SHARE


def read(name):
    """One module's docstrings in the order of the source, a paragraph a line, or ""."""
    source = locate(name).read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's escapes are not our business
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    text = "\n".join(line for doc in _docstrings(tree) for line in paragraphs(doc))
    # A lone surrogate written as an escape is not text.
    text = text.encode(errors="ignore").decode()
    return text if len(text) >= SHORTEST else ""


@functools.cache
def _roots():
    """{"stdlib": path, "purelib": path, "platlib": path where it is another}."""
    roots = {}
    for key in ("stdlib", "purelib", "platlib"):
        path = Path(sysconfig.get_path(key)).resolve()
        if path not in roots.values():
            roots[key] = path
    return roots


def paragraphs(docstring):
    """Undoes the wrapping of lines: one line for each block between blank lines."""
    blocks = "\n".join(line.strip() for line in docstring.splitlines()).split("\n\n")
    lines = (" ".join(block.split()) for block in blocks)
    return [line for line in lines if line and not line.startswith(">>>")]


def _docstrings(node):
    """Docstrings of a node and of the classes and functions inside it, in source order."""
    if isinstance(node, NODES):
        docstring = ast.get_docstring(node)
        if docstring:
            yield docstring
    for child in getattr(node, "body", ()):
        if isinstance(child, ast.stmt):
            yield from _docstrings(child)
