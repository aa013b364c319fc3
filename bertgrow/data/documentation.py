"""The default corpus: docstrings of the standard library and of the installed packages."""

import ast
import sysconfig
import warnings
from pathlib import Path

SHORTEST = 200  # characters; modules that say less are left out
PACKAGES = ("site-packages", "dist-packages")
NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def modules():
    """Every Python file that may document something: [(name, path)], sorted by name."""
    roots = {key: Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "purelib")}
    roots["purelib"], platlib = roots["purelib"], Path(sysconfig.get_path("platlib")).resolve()
    if platlib != roots["purelib"]:
        roots["platlib"] = platlib
    found = {}
    for key, root in roots.items():
        for path in root.rglob("*.py"):
            inner = path.relative_to(root)
            if key != "stdlib" or not set(inner.parts) & set(PACKAGES):
                found.setdefault(f"{key}/{inner.as_posix()}", path)
    return sorted(found.items())


def read(path):
    """One module's docstrings in the order of the source, a paragraph a line, or ""."""
    source = Path(path).read_bytes()
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
