"""Joins the other processes of a run, in the process that trains.

The process that trains is a child of the one that was started (`watching.py`), which tells it
by an environment variable whom to join.
"""

import os

import jax

from bertgrow.run.processes import watching

ARRIVAL = 60  # seconds
HEARTBEAT = 30  # seconds without a sign of life, after which JAX gives a process up


def join():
    """Starts `jax.distributed`; call it in the child before any other use of JAX.

    JAX would take SIGTERM for itself. Its preemption service is turned off, so that
    `StopRequest` gets it.
    """
    address, processes, process, *_ = os.environ[watching.VARIABLE].split()
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        address, int(processes), int(process),
        initialization_timeout=ARRIVAL, heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=HEARTBEAT,
    )  # fmt: skip
