"""Real English text that every machine has: docstrings of the standard library."""

import ast
import sysconfig
from pathlib import Path

MODULES = """
    argparse ast asyncio/events collections contextlib csv datetime decimal difflib
    doctest email/message fractions functools heapq http/client imaplib inspect ipaddress
    json logging mailbox optparse os pathlib pdb pickletools random shutil
    smtplib socket statistics string subprocess tarfile tempfile textwrap threading
    traceback turtle typing unittest/case unittest/mock uuid zipfile
"""


def write(path):
    """Writes one document a module, blank lines between; returns the path."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    documents = [_docstrings(_source(folder, name)) for name in MODULES.split()]
    path.write_text("\n\n".join(documents), encoding="utf-8")
    return path


def _source(folder, name):
    """The file of a module: `zipfile` became a package in Python 3.12, `pathlib` in 3.13."""
    module = folder / f"{name}.py"
    return module if module.is_file() else folder / name / "__init__.py"


def _docstrings(path):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, documented)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    return "\n".join(" ".join(text.split()) for text in texts if text)
