"""Test setup: strict JAX, eight simulated devices, fixed threads, paths of real data."""

import gc
import os
import signal
import tempfile
from importlib import metadata
from pathlib import Path

# Bits on a CPU depend on the number of threads; tests of bits need it fixed.
os.environ.setdefault("PJRT_NPROC", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
# Compiling takes most of the time of these tests. These flags cut it to a fifth: the compiler
# does not optimise, and fusions use the older code generator, which is faster. XLA stops at a
# flag it does not know, and jax 0.12 has only the newer one. Child processes inherit them.
COMPILE_FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if metadata.version("jaxlib").startswith("0.10."):
    COMPILE_FAST += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", COMPILE_FAST)
# One compilation cache for the session and its child processes, removed at the end. JAX reads
# the settings as it is imported.
COMPILED = tempfile.TemporaryDirectory(prefix="bertgrow-compiled-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", COMPILED.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
import stdlib_prose  # noqa: E402

# The same draws on every machine and day: a failure is the change's, never the dice's.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

# `nohup` and a shell's `&` make child processes ignore these; the tests send them.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# JAX traces into many small objects: at the default threshold collecting takes 8 % of the time.
gc.set_threshold(200_000, 50, 1000)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


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
    return stdlib_prose.write(tmp_path_factory.mktemp("text") / "stdlib.txt")


@pytest.fixture(scope="session")
def store(text_file, tmp_path_factory):
    """A token store of `text_file`: vocabulary of 400, at least four held-out documents."""
    from bertgrow.data.corpus import prepare

    folder = tmp_path_factory.mktemp("stores") / "stdlib"
    return prepare.prepare([str(text_file)], folder, vocab_size=400, held_out=0.15, workers=1)
