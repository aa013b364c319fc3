"""Strict JAX, eight simulated devices, fixed threads, and where the real data are."""

import os
from pathlib import Path

# Bits on a CPU depend on the number of threads; tests of bits need it fixed.
os.environ.setdefault("PJRT_NPROC", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")

import jax  # noqa: E402
import pytest  # noqa: E402

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
