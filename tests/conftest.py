"""Strict JAX, eight simulated devices, fixed threads, and where the real data are."""

import ast
import os
import sysconfig
from pathlib import Path

# Bits on a CPU depend on the number of threads; tests of bits need it fixed.
os.environ.setdefault("PJRT_NPROC", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

# The same draws on every machine and day: a failure is the change's, never the dice's.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

MODULES = """
    argparse ast asyncio/events collections/__init__ contextlib csv datetime decimal difflib
    doctest email/message fractions functools heapq http/client imaplib inspect ipaddress
    json/__init__ logging/__init__ mailbox optparse os pathlib pdb pickletools random shutil
    smtplib socket statistics string subprocess tarfile tempfile textwrap threading
    traceback turtle typing unittest/case unittest/mock uuid zipfile
"""


@pytest.fixture(scope="session")
def real_data():
    """The folder of real corpora; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BERTGROW_DATA", default))
    if not folder.is_dir():
        pytest.skip("real data are absent; set BERTGROW_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    """Real prose that is on every machine: docstrings of the standard library."""
    return write_text(tmp_path_factory.mktemp("text") / "stdlib.txt")


def write_text(path):
    folder = Path(sysconfig.get_paths()["stdlib"])
    documents = [_docstrings(folder / f"{name}.py") for name in MODULES.split()]
    path.write_text("\n\n".join(documents), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def store(text_file, tmp_path_factory):
    """A token store of `text_file` with 400 pieces and four held-out documents or more."""
    from bertgrow.data import prepare

    folder = tmp_path_factory.mktemp("stores") / "stdlib"
    return prepare.prepare([str(text_file)], folder, vocab_size=400, held_out=0.15, workers=1)


def _docstrings(path):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, documented)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    return "\n".join(" ".join(text.split()) for text in texts if text)
