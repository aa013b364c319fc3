"""Default corpus: docstrings of the standard library and of the installed packages."""

import ast
import functools
import sysconfig
import warnings
from pathlib import Path

SHORTEST = 200  # characters; modules with less documentation are skipped
SIZE_RATIO = 8  # estimated size of a module divided by that of its docstrings
PACKAGES = ("site-packages", "dist-packages")
NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def modules():
    """Lists all Python files of the corpus as sorted names, e.g. `stdlib/ast.py`."""
    names = set()
    for key, root in _roots().items():
        for path in root.rglob("*.py"):
            inner = path.relative_to(root)
            if key != "stdlib" or not set(inner.parts) & set(PACKAGES):
                names.add(f"{key}/{inner.as_posix()}")
    return sorted(names)


def locate(name):
    """Returns the path of a name from `modules`."""
    key, inner = name.split("/", 1)
    return _roots()[key] / inner


def weight(name):
    """Estimates how many characters of documentation a module has, from its file size."""
    return locate(name).stat().st_size // SIZE_RATIO


def read(name):
    """Reads the docstrings of a module, one paragraph per line; "" if they are too short."""
    source = locate(name).read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # third-party code may have invalid escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    text = "\n".join(line for doc in _docstrings(tree) for line in paragraphs(doc))
    # A lone surrogate, written as an escape, cannot be encoded as UTF-8; drop it.
    text = text.encode(errors="ignore").decode()
    return text if len(text) >= SHORTEST else ""


@functools.cache
def _roots():
    """Returns {"stdlib": path, "purelib": path, "platlib": path}, without repeated paths."""
    roots = {}
    for key in ("stdlib", "purelib", "platlib"):
        path = Path(sysconfig.get_path(key)).resolve()
        if path not in roots.values():
            roots[key] = path
    return roots


def paragraphs(docstring):
    """Joins wrapped lines: returns one line for each block between blank lines."""
    blocks = "\n".join(line.strip() for line in docstring.splitlines()).split("\n\n")
    lines = (" ".join(block.split()) for block in blocks)
    return [line for line in lines if line and not line.startswith(">>>")]


def _docstrings(node):
    """Yields the docstrings of a node and of its nested definitions, in source order."""
    if isinstance(node, NODES):
        docstring = ast.get_docstring(node)
        if docstring:
            yield docstring
    for child in getattr(node, "body", ()):
        if isinstance(child, ast.stmt):
            yield from _docstrings(child)
