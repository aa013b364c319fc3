"""Records the hardware and software that two runs must share to be bit-identical."""

import importlib.metadata
import os
import platform

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax")


def describe(mesh=None):
    """Returns a JSON dict: devices, processes, threads, versions, flags, mesh.

    On a CPU the number of threads affects the numerics, because sums are split among them.
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


def memory():
    """Bytes of memory of all devices together; of the host where they are CPUs."""
    limits = [
        (device.memory_stats() or {}).get("bytes_limit") for device in jax.local_devices()
    ]
    if all(limits):
        return sum(limits) * jax.process_count()  # other processes have as many devices
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def differences(saved, current):
    """Lists the differences as text, e.g. `threads: 2 then, 1 now`.

    Runs with an empty list are bit-identical. Processor and threads are compared only if the
    devices are CPUs.
    """
    on_cpu = saved.get("device") == current.get("device") == "cpu"
    hosts = set() if on_cpu else {"processor", "threads"}
    return [
        f"{name}: {saved.get(name)} then, {current.get(name)} now"
        for name in sorted((saved.keys() | current.keys()) - hosts)
        if saved.get(name) != current.get(name)
    ]


def _processor():
    """Returns the CPU model; the instruction set affects the last bits of results."""
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
