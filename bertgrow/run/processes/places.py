"""Finds which of several processes this one is: options, environment, Slurm, TPU slices."""

import argparse
import glob
import importlib.util
import os
import re
import urllib.error
import urllib.request
from typing import NamedTuple

from bertgrow.core.errors import InputError

VARIABLES = {
    "coordinator": "BERTGROW_COORDINATOR",
    "processes": "BERTGROW_PROCESSES",
    "process": "BERTGROW_PROCESS",
}
INDEX = "JOB_COMPLETION_INDEX"  # of a pod, set by Kubernetes for an indexed job
PORT = 8476  # of the first process of a TPU slice
FIRST_PORT, PORTS = 60_000, 4_096  # range of ports for Slurm, chosen by the job
METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/attributes/"
SECONDS = 5  # for an answer of the metadata server


class Place(NamedTuple):
    """This process among the processes of a run."""

    host: str  # machine of process 0
    port: int  # where process 0 listens
    processes: int
    process: int  # from 0 on

    @property
    def coordinator(self):
        return f"{self.host}:{self.port}"


def add_arguments(parser):
    """Adds `--coordinator`, `--processes` and `--process` to the arguments of a command."""
    parser.add_argument(
        "--coordinator", metavar="HOST:PORT",
        help="several processes: machine and free port of process 0; found by itself on TPU "
        "slices and under Slurm (docs/pods.md)",
    )  # fmt: skip
    parser.add_argument("--processes", metavar="N", help="number of processes of the run")
    parser.add_argument("--process", metavar="I", help="number of this process, 0 to N - 1")


def words(args):
    """The options of `add_arguments` as they were given, to print a command again."""
    names = (name for name in VARIABLES if getattr(args, name, None))
    return [word for name in names for word in (f"--{name}", getattr(args, name))]


def find(argv, environ=None, metadata=None):
    """Returns the `Place` of this process; None if it is the only one.

    The options come first, then the `VARIABLES`, then what Slurm or the TPU says.

    Args:
      argv: arguments of the command.
      environ: environment variables; by default those of this process.
      metadata: function (name) -> text of a TPU machine's metadata, or None.

    Raises:
      InputError: options are missing, malformed or out of range.
    """
    environ = os.environ if environ is None else environ
    place = _explicit(argv, environ) or _slurm(environ)
    if place is None and environ.get("JAX_PLATFORMS") != "cpu":
        place = _pod(environ) or _machine(environ, metadata)
    return place if place and place.processes > 1 else None


def _explicit(argv, environ):
    """`Place` by options or variables; None if neither is given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    add_arguments(parser)
    try:
        options, _ = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise InputError(f"{error.argument_name}: expected a value after it") from None
    texts = {
        name: getattr(options, name) or environ.get(variable)
        for name, variable in VARIABLES.items()
    }
    if not any(texts.values()):
        return None
    texts["process"] = texts["process"] or environ.get(INDEX)
    missing = [f"--{name}" for name, text in texts.items() if not text]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} missing: several processes need --coordinator HOST:PORT, "
            "--processes N and --process I"
        )
    host, port = _address(texts["coordinator"])
    processes, process = (_number(name, texts[name]) for name in ("processes", "process"))
    if processes < 1:
        raise InputError(f"--processes {processes}; expected 1 or more")
    if process >= processes:
        raise InputError(
            f"--process {process} of --processes {processes}; expected 0 to {processes - 1}"
        )
    return Place(host, port, processes, process)


def _address(text):
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"--coordinator {text!r}; expected HOST:PORT, the machine of process 0 and a free "
            "port there, e.g. 10.0.0.2:8476"
        )
    return host.strip("[]"), int(port)


def _number(name, text):
    if not text.isdecimal():
        raise InputError(f"--{name} {text!r}; expected a whole number")
    return int(text)


def _slurm(environ):
    """`Place` of a task of `srun`."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID")
    if any(name not in environ for name in names):
        return None
    job, nodes, tasks, task = (environ[name] for name in names)
    port = FIRST_PORT + int(job) % PORTS
    return Place(_first_node(nodes), port, int(tasks), int(task))


def _first_node(nodes):
    """`node007` of `node[007-009,012],other3`."""
    prefix, number = re.match(r"([^,\[]+)(?:\[(\w+))?", nodes).groups()
    return prefix + (number or "")


def _pod(environ):
    """`Place` of a TPU pod of GKE, which describes the slice in its environment."""
    hosts = environ.get("TPU_WORKER_HOSTNAMES")
    if not hosts or "TPU_WORKER_ID" not in environ:
        return None
    hosts = [host.partition(":")[0] for host in hosts.split(",")]
    return _of_slices(hosts, int(environ["TPU_WORKER_ID"]), environ)


def _machine(environ, metadata):
    """`Place` of a TPU machine of Compute Engine, by its metadata."""
    if metadata is None:
        if "TPU_SKIP_MDS_QUERY" in environ or not _has_tpu():
            return None
        metadata = _query
    worker, endpoints = metadata("agent-worker-number"), metadata("worker-network-endpoints")
    if not worker or not endpoints:
        return None
    hosts = [endpoint.split(":")[-1] for endpoint in endpoints.split(",")]
    lines = re.findall(r"(?m)^(\w+): *'?([^'\n]*)'?$", metadata("tpu-env") or "")
    return _of_slices(hosts, int(worker), dict(lines))


def _of_slices(hosts, worker, environ):
    """`Place` of a worker; several slices (`MEGASCALE_*`) have as many workers each."""
    slices = int(environ.get("MEGASCALE_NUM_SLICES") or 1)
    number = int(environ.get("MEGASCALE_SLICE_ID") or 0)
    first = environ.get("MEGASCALE_COORDINATOR_ADDRESS") or hosts[0]
    process = number * len(hosts) + worker
    return Place(first.partition(":")[0], PORT, slices * len(hosts), process)


def _has_tpu():
    has_chips = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return bool(has_chips) and importlib.util.find_spec("libtpu") is not None


def _query(name):
    request = urllib.request.Request(METADATA + name, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:
            return reply.read().decode()
    except (urllib.error.URLError, TimeoutError):
        return None
