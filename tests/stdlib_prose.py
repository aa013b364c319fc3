"""Real prose that is on every machine: docstrings of the standard library."""

import ast
import sysconfig
from pathlib import Path

MODULES = """
    argparse ast asyncio/events collections/__init__ contextlib csv datetime decimal difflib
    doctest email/message fractions functools heapq http/client imaplib inspect ipaddress
    json/__init__ logging/__init__ mailbox optparse os pathlib pdb pickletools random shutil
    smtplib socket statistics string subprocess tarfile tempfile textwrap threading
    traceback turtle typing unittest/case unittest/mock uuid zipfile
"""


def write(path):
    """Writes one document a module, blank lines between; returns the path."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    documents = [_docstrings(folder / f"{name}.py") for name in MODULES.split()]
    path.write_text("\n\n".join(documents), encoding="utf-8")
    return path


def _docstrings(path):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, documented)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    return "\n".join(" ".join(text.split()) for text in texts if text)
