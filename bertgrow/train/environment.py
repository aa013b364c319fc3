"""What two runs must share for their numbers to be equal to the bit."""

import importlib.metadata
import os
import platform

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax")


def describe(mesh=None):
    """A dict for JSON: devices, processes, threads, versions, flags, mesh.

    The number of threads is part of the numerics on a CPU: sums are split among them.
    """
    devices = jax.devices()
    return {
        "device": devices[0].device_kind,
        "devices": len(devices),
        "processes": jax.process_count(),
        "processor": _processor(),
        "threads": int(os.environ.get("PJRT_NPROC") or _usable_cpus()),
        "mesh": None if mesh is None else dict(mesh.shape),
        "versions": {name: _version(name) for name in PACKAGES},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "libtpu_flags": os.environ.get("LIBTPU_INIT_ARGS", ""),
        "matmul_precision": jax.config.jax_default_matmul_precision,
    }


def differences(saved, now):
    """What differs, in words: `threads: 2 then, 1 now`. Bits are promised when it is empty.

    Processor and threads count only where the devices are CPUs.
    """
    on_cpu = saved.get("device") == now.get("device") == "cpu"
    hosts = set() if on_cpu else {"processor", "threads"}
    return [
        f"{name}: {saved.get(name)} then, {now.get(name)} now"
        for name in sorted((saved.keys() | now.keys()) - hosts)
        if saved.get(name) != now.get(name)
    ]


def _processor():
    """The model where the system tells it: instruction sets differ, and so do last bits."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _usable_cpus():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
