"""Names of TPU topologies that programs can be compiled for without having one."""

import difflib
import importlib.util
import math
import re
from typing import NamedTuple

from bertgrow.core.errors import InputError
from bertgrow.planning import hardware

ATTACHED = "attached"  # the devices of this machine
FLAT = "1x1, 2x2, 2x4, 4x4, 4x8, 8x8, 8x16, 16x16"
CUBE = "2x2x1, 2x2x2, 2x2x4, 2x4x4, 4x4x4, 4x4x8, 4x8x8, 8x8x8"
LAYOUTS = {"v4": CUBE, "v5e": FLAT, "v5p": CUBE, "v6e": FLAT, "tpu7x": CUBE}  # usual slices

ALIASES = {"v5litepod": "v5e"}  # of Google's names of slices, e.g. v5litepod-16

_NAME = re.compile(r"(\w+):(\d+(?:x\d+){1,2})")


class Topology(NamedTuple):
    """A slice of TPUs, or the attached devices, whose chips a child process counts."""

    name: str
    device: hardware.Device | None = None
    chips: int = 0  # devices as JAX counts them: a tpu7x chip is two
    options: dict = {}  # of `jax.experimental.topologies.get_topology_desc`


def parse(name):
    """Returns the `Topology` of a name such as "v5e:4x4"; InputError if there is none."""
    if name == ATTACHED:
        return Topology(name)
    match = _NAME.fullmatch(name)
    layout = match and match[2].split("x")
    if not match or match[1] not in LAYOUTS or len(layout) != _dimensions(match[1]):
        raise InputError(_unknown(name))
    if not has_compiler():
        raise InputError(
            f"--compile {name} needs the TPU compiler, libtpu, which is not installed: "
            "pip install 'bertgrow[tpu]'"
        )
    chips, options = math.prod(map(int, layout)), {}
    if chips == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    if match[1] == "v4":  # both cores of a chip are one device, as on a machine with v4
        options["chip_config_name"] = "megacore"
    devices = 2 * chips if match[1] == "tpu7x" else chips
    return Topology(name, hardware.TABLE[match[1]], devices, options)


def has_compiler():
    """Whether libtpu is installed."""
    return importlib.util.find_spec("libtpu") is not None


def refused(name, reason):
    """Error text for a layout that libtpu does not build; `reason` is libtpu's."""
    kind = name.split(":")[0]
    return f"--compile {name}: libtpu refuses it ({reason}); usual: {kind}:{LAYOUTS[kind]}"


def _dimensions(kind):
    return LAYOUTS[kind].split(",")[0].count("x") + 1


def _unknown(name):
    """Error text with the nearest known name, and the known ones."""
    kind = name.split(":")[0].split("-")[0]
    known = "; ".join(f"{kind}:{layouts.split(', ')[1]}" for kind, layouts in LAYOUTS.items())
    near = difflib.get_close_matches(ALIASES.get(kind, kind), LAYOUTS, n=1, cutoff=0.4)
    hint = f"nearest: {near[0]}:SIZE with SIZE one of {LAYOUTS[near[0]]}; " if near else ""
    return (
        f"--compile {name}: no such topology; {hint}expected NAME:SIZE, such as {known}, "
        f"or {ATTACHED}"
    )
