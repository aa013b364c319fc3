"""What a device can do: its peak, its memory, and who says so."""

import os
from typing import NamedTuple

import jax

from bertgrow.errors import InputError

GOOGLE = "docs.cloud.google.com/tpu/docs/{}"
NVIDIA = "NVIDIA's data sheet, SXM, without sparsity"

# Between 32 % (BERT-large at 512 tokens on one A100) and 50 % (the best MLPerf entries on
# H200, with 8-bit products) of published encoder runs.
USUAL = 0.4
CPU_CORE = 64e9  # FLOP/s of a core: 2 units of 8 float32, multiply and add, at 2 GHz


class Device(NamedTuple):
    """One chip, or one machine without an accelerator."""

    name: str
    peak: float  # FLOP/s, in bfloat16 but on a CPU
    memory: float  # bytes
    dtype: str  # what `dtype: auto` computes in
    utilisation: float  # assumed share of the peak that model FLOPs reach
    source: str


def _tpu(name, teraflops, gigabytes, utilisation=USUAL):
    source = GOOGLE.format(name)
    return Device(name, teraflops * 1e12, gigabytes * 1e9, "bfloat16", utilisation, source)


def _gpu(name, teraflops, gigabytes):
    return Device(name, teraflops * 1e12, gigabytes * 1e9, "bfloat16", USUAL, NVIDIA)


def _cpu():
    cores, memory = os.cpu_count(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    source = f"this machine: {cores} cores, of each 64 GFLOP/s assumed"
    return Device("cpu", cores * CPU_CORE, memory, "float32", 0.5, source)


TABLE = {
    "v4": _tpu("v4", 275, 32),
    "v5e": _tpu("v5e", 197, 16),
    "v5p": _tpu("v5p", 459, 95),
    "v6e": _tpu("v6e", 918, 32, 0.3),  # its units of 256 x 256 suit narrow models less
    "a100": _gpu("a100", 312, 80),
    "h100": _gpu("h100", 989, 80),
    "h200": _gpu("h200", 989, 141),
    "cpu": _cpu(),
}

KINDS = {  # how JAX names them, the first that is found in `device_kind`
    "v5 lite": "v5e",
    "v5e": "v5e",
    "v5": "v5p",
    "v6": "v6e",
    "v4": "v4",
    "a100": "a100",
    "h100": "h100",
    "h200": "h200",
    "cpu": "cpu",
}


def present():
    """The `Device` of this process."""
    kind = jax.devices()[0].device_kind
    for part, name in KINDS.items():
        if part in kind.lower():
            return TABLE[name]
    raise InputError(f"this device, {kind!r}, is none of {', '.join(TABLE)}")
