"""Tests that a process finds its number and the machine of the first one."""

import pytest

from bertgrow.core.errors import InputError
from bertgrow.run.processes import places

ALL = ["--coordinator", "tpu-0:8476", "--processes", "4", "--process", "1"]
SLURM = dict(
    SLURM_JOB_ID="70001", SLURM_STEP_NODELIST="node[007-009,012],other3", SLURM_NTASKS="8",
    SLURM_PROCID="5", SLURM_LOCALID="1",
)  # fmt: skip
POD = dict(TPU_WORKER_HOSTNAMES="a-0.svc,a-1.svc", TPU_WORKER_ID="1")


def find(*argv, metadata=lambda name: None, **environ):
    return places.find(list(argv), environ, metadata)


def test_options_say_which_process_it_is_before_anything_else():
    place = find("--config", "demo", *ALL, **SLURM, BERTGROW_PROCESS="3")

    assert place == places.Place("tpu-0", 8476, 4, 1)
    assert find("--coordinator=[::1]:80", *ALL[2:]).host == "::1"


def test_variables_serve_as_options_and_an_indexed_job_numbers_its_pods():
    environ = dict(BERTGROW_COORDINATOR="job-0:8476", BERTGROW_PROCESSES="2")

    assert find(**environ, BERTGROW_PROCESS="1") == places.Place("job-0", 8476, 2, 1)
    assert find(**environ, JOB_COMPLETION_INDEX="0") == places.Place("job-0", 8476, 2, 0)
    assert find(JOB_COMPLETION_INDEX="0") is None


@pytest.mark.parametrize("nodes, first", [
    ("node[007-009,012],other3", "node007"), ("one,two", "one"), ("n-1-[3,5]", "n-1-3"),
])  # fmt: skip
def test_tasks_of_slurm_meet_on_the_first_node_of_their_step(nodes, first):
    place = find(**SLURM | dict(SLURM_STEP_NODELIST=nodes))

    assert place == places.Place(first, 60_000 + 70_001 % 4_096, 8, 5)
    assert find(**SLURM | dict(SLURM_NTASKS="1", SLURM_PROCID="0")) is None


def test_pods_of_a_tpu_slice_and_of_several_slices_meet_at_the_first():
    slices = dict(
        MEGASCALE_COORDINATOR_ADDRESS="b-0.svc:8080", MEGASCALE_NUM_SLICES="3",
        MEGASCALE_SLICE_ID="2",
    )  # fmt: skip

    assert find(**POD) == places.Place("a-0.svc", 8476, 2, 1)
    assert find(**POD | slices) == places.Place("b-0.svc", 8476, 6, 5)
    assert find(**POD, JAX_PLATFORMS="cpu") is None
    assert find(TPU_WORKER_HOSTNAMES="localhost", TPU_WORKER_ID="0") is None


def test_machines_of_a_tpu_slice_are_in_their_metadata():
    metadata = {
        "agent-worker-number": "1",
        "worker-network-endpoints": "n:0:10.0.0.2,n:1:10.0.0.3",
        "tpu-env": "ZONE: 'us-west4-a'\nMEGASCALE_NUM_SLICES: ''\n",
    }

    assert find(metadata=metadata.get) == places.Place("10.0.0.2", 8476, 2, 1)


@pytest.mark.parametrize("argv, message", [
    (ALL[:2], "--processes and --process missing: several processes need"),
    (["--process", "1"], "--coordinator and --processes missing"),
    (ALL[:5] + ["4"], "--process 4 of --processes 4; expected 0 to 3"),
    (ALL[:5] + ["-1"], "--process '-1'; expected a whole number|--process: expected a value"),
    (["--coordinator", "tpu-0", *ALL[2:]], "--coordinator 'tpu-0'; expected HOST:PORT"),
    (["--coordinator", "tpu-0:99999", *ALL[2:]], "expected HOST:PORT"),
    (ALL[:3] + ["0", *ALL[4:]], "--processes 0; expected 1 or more"),
    (ALL[:3] + ["many", *ALL[4:]], "--processes 'many'; expected a whole number"),
    (ALL[:5], "--process: expected a value after it"),
])  # fmt: skip
def test_wrong_options_are_one_line(argv, message):
    with pytest.raises(InputError, match=message):
        find(*argv)
