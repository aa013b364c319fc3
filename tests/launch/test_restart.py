"""Commands run again on 75 and after a signal, and stop on 0, 1 and 2."""

import os
import signal
import subprocess
import time

import pytest
import stubs

# Ends with the next code of $CODES and counts its starts.
COMMAND = """#!/usr/bin/env bash
starts=$(cat starts 2>/dev/null || echo 0)
codes=($CODES)
echo $((starts + 1)) >starts
exit "${codes[starts]}"
"""


@pytest.fixture
def command(tmp_path):
    path = tmp_path / "command"
    path.write_text(COMMAND)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    "codes, starts",
    [("0", 1), ("1", 1), ("2", 1), ("75 0", 2), ("75 137 134 2", 4), ("75 75 75 75", 4)],
)
def test_a_command_runs_again_while_its_code_asks_for_it(tmp_path, command, codes, starts):
    result = stubs.launch(
        tmp_path, "restart.sh", command, CODES=codes, RESTARTS="3", RESTART_PAUSE="0"
    )

    assert int((tmp_path / "starts").read_text()) == starts
    assert result.code == int(codes.split()[-1])


def test_a_signal_reaches_the_command_and_ends_the_restarts(tmp_path):
    saves = """
        trap "sleep 0.2; echo saved >saved; exit 75" TERM
        touch ready
        while :; do sleep 0.05; done
    """
    child = subprocess.Popen(
        ["bash", stubs.LAUNCH / "restart.sh", "bash", "-c", saves],
        cwd=tmp_path,
        env=os.environ | dict(RESTART_PAUSE="0"),
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)

    child.send_signal(signal.SIGTERM)

    assert child.wait(timeout=20) == 75
    assert (tmp_path / "saved").exists()


# Runs the tasks of a job one after the other; like srun it ends with the highest code.
SRUN = """#!/usr/bin/env bash
shift
worst=0
for task in $TASKS; do
    CODE=$task "$@"
    code=$?
    [ $code -le $worst ] || worst=$code
done
exit $worst
"""


@pytest.mark.parametrize(
    "tasks, restarts, code, is_queued",
    [
        ("0 0", 0, 0, False),
        ("75 75", 0, 75, True),
        ("75 137", 0, 137, True),
        ("75 2", 0, 2, False),
        ("1 75", 3, 1, False),
        ("75 75", 20, 75, False),
    ],
)
def test_a_slurm_job_queues_itself_again(tmp_path, tasks, restarts, code, is_queued):
    srun = stubs.install(tmp_path / "bin", ["srun", "scontrol"]) / "srun"
    srun.write_text(SRUN)
    words = [str(stubs.LAUNCH), "bash", "-c", 'exit "$CODE"']
    job = dict(SLURM_JOB_NAME="bertgrow", SLURM_JOB_ID="7", SLURM_RESTART_COUNT=str(restarts))

    result = stubs.launch(tmp_path, "slurm/job.sbatch", *words, TASKS=tasks, **job)

    assert result.code == code
    assert result.calls == ([["scontrol", "requeue", "7"]] if is_queued else [])
