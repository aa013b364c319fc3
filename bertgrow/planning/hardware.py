"""Table of devices: peak FLOP/s, memory and the source of the figures."""

import os
import re
from typing import NamedTuple

import jax

from bertgrow.core.errors import InputError

GOOGLE = "docs.cloud.google.com/tpu/docs/{}"
NVIDIA = "NVIDIA's data sheet, {}, without sparsity"

# Published encoder runs reach 32 % (BERT-large at 512 tokens on one A100) to 50 % (the best
# MLPerf entries on H200, with 8-bit products).
USUAL = 0.4
CPU_CORE = 64e9  # FLOP/s per core: 2 units of 8 float32, multiply and add, at 2 GHz


class Device(NamedTuple):
    """One chip, or one machine without an accelerator."""

    name: str
    peak: float  # FLOP/s in `dtype`
    memory: float  # bytes
    dtype: str  # dtype of a plan with `dtype: auto`
    utilisation: float  # assumed model FLOP/s as a fraction of the peak
    source: str
    clock: float = 0.0  # Hz of a TPU core, to turn the compiler's cycles into seconds


def _tpu(name, teraflops, gigabytes, utilisation=USUAL, *, macs, source=""):
    """A TPU; `macs` are the multiply-adds of its matrix units in one cycle, hence its clock."""
    peak, source = teraflops * 1e12, source or GOOGLE.format(name)
    return Device(
        name, peak, gigabytes * 1e9, "bfloat16", utilisation, source, peak / (2 * macs)
    )


def _tpu7x():
    """Half a chip, which JAX shows as a device: 2,307 TFLOP/s and 192 GB are those of two."""
    source = f"{GOOGLE.format('tpu7x')}, one of the two devices of a chip"
    return _tpu("tpu7x", 2307 / 2, 96, 0.3, macs=4 * 256**2, source=source)


def _gpu(name, teraflops, gigabytes, *, form="SXM"):
    source = NVIDIA.format(form)
    return Device(name, teraflops * 1e12, gigabytes * 1e9, "bfloat16", USUAL, source)


def _t4():
    """The T4: its 65 TFLOP/s need float16, which recipes do not use; bfloat16 is emulated."""
    source = "NVIDIA's data sheet; it has no bfloat16 units, so dtype 'auto' is float32"
    return Device("t4", 8.1e12, 16e9, "float32", USUAL, source)


def _cpu():
    cores, memory = os.cpu_count(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    source = f"this machine: {cores} cores, of each 64 GFLOP/s assumed"
    return Device("cpu", cores * CPU_CORE, memory, "float32", 0.5, source)


TABLE = {
    "v4": _tpu("v4", 275, 32, macs=8 * 128**2),  # 8 matrix units of 128 x 128
    "v5e": _tpu("v5e", 197, 16, macs=4 * 128**2),
    "v5p": _tpu("v5p", 459, 95, macs=8 * 128**2),
    # Its matrix units of 256 x 256 fit narrow models less well.
    "v6e": _tpu("v6e", 918, 32, 0.3, macs=4 * 256**2),
    "tpu7x": _tpu7x(),
    "a100": _gpu("a100", 312, 80),
    "h100": _gpu("h100", 989, 80),
    "h200": _gpu("h200", 989, 141),
    "l4": _gpu("l4", 121, 24, form="PCIe"),
    "t4": _t4(),
    "cpu": _cpu(),
}

KINDS = {  # lower-case pattern of JAX's `device_kind`; the first match is used
    "v5 lite": "v5e",
    "v5e": "v5e",
    "v5": "v5p",
    "v6": "v6e",
    "tpu7x": "tpu7x",
    "v4": "v4",
    "a100": "a100",
    "h100": "h100",
    "h200": "h200",
    r"\bl4\b": "l4",  # excludes L40
    r"\bt4\b": "t4",
    "cpu": "cpu",
}


def present():
    """Returns the `Device` of this process."""
    return of_kind(jax.devices()[0].device_kind)


def of_kind(kind):
    """Returns the `Device` with the JAX `device_kind` `kind`, e.g. "NVIDIA L4"."""
    for pattern, name in KINDS.items():
        if re.search(pattern, kind.lower()):
            return TABLE[name]
    raise InputError(f"this device, {kind!r}, is none of {', '.join(TABLE)}")
