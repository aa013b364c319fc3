"""The launch scripts call the right commands, print them, and refuse wrong input."""

import json

import pytest
import stubs

VM = ["--name", "n", "--zone", "us-west4-a"]
SLICE = [*VM, "--api", "compute", "--project", "p", "--workers", "2"]
GKE = ["--cluster", "c", "--location", "us-west4", "--zone", "us-west4-a", "--project", "p"]
TRAIN = ["--", "pretrain", "--config", "demo:grow", "--workdir", "/data/a run"]
SOURCE = ["--source", "git+https://example.org/bertgrow"]
MACHINES = {"instances list": ("n-ab\nn-cd\n", 0)}
ACTIVE = {"queued-resources describe": ("ACTIVE\n", 0)}

STEPS = [  # script, arguments, replies of the stand-ins
    ("tpu_vm.sh", [*VM, "--type", "v5litepod-16", "create"], ACTIVE),
    ("tpu_vm.sh", [*VM, "--type", "v6e-8", "--flex", "6h", "create"], ACTIVE),
    ("tpu_vm.sh", [*VM, "run", *TRAIN], {}),
    ("tpu_vm.sh", [*VM, "logs"], {}),
    ("tpu_vm.sh", [*VM, "stop"], {}),
    ("tpu_vm.sh", [*VM, "delete"], {}),
    ("tpu_vm.sh", [*SLICE, "--machine", "m", "--topology", "2x4", "create"], MACHINES),
    ("tpu_vm.sh", [*SLICE, "delete"], MACHINES),
    ("gke/job.sh", [*GKE, "pool"], {}),
    ("gke/job.sh", [*GKE, "--image", "i", "xpk", *TRAIN], {}),
    ("gke/job.sh", ["logs"], {}),
    ("gke/job.sh", ["delete"], {}),
    ("slurm/submit.sh", ["--nodes", "2", "--gpus", "4", *TRAIN], {}),
    ("colab.sh", [*SOURCE, "run", *TRAIN[:4]], {}),
    ("colab.sh", [*SOURCE, "--accelerator", "T4", "notebook"], {}),
    ("kaggle/push.sh", ["--owner", "o", "logs"], {}),
    ("kaggle/push.sh", ["--owner", "o", "output"], {}),
]
NAMES = [
    f"{script} {words[-1] if words[-1] != TRAIN[-1] else 'run'}" for script, words, _ in STEPS
]


@pytest.mark.parametrize("script, words, replies", STEPS, ids=NAMES)
def test_a_script_prints_every_command_that_it_runs(tmp_path, script, words, replies):
    result = stubs.launch(tmp_path, script, *words, replies=replies)

    assert result.code == 0, result.errors
    assert result.calls
    assert result.printed == result.calls


@pytest.mark.parametrize("script, words, replies", STEPS, ids=NAMES)
def test_a_dry_run_prints_the_commands_and_runs_none(tmp_path, script, words, replies):
    result = stubs.launch(tmp_path, script, "--dry-run", *words, replies=replies)

    real = stubs.launch(tmp_path, script, *words, replies=replies)
    assert result.code == 0, result.errors
    assert result.calls == []
    assert result.printed == real.printed


def test_a_tpu_is_requested_and_awaited(tmp_path):
    words = [*VM, "--type", "v5litepod-16", "--spot", "create"]

    create, *describe = stubs.launch(tmp_path, "tpu_vm.sh", *words, replies=ACTIVE).calls

    assert create[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "n"]
    assert stubs.option(create, "--accelerator-type") == "v5litepod-16"
    assert stubs.option(create, "--runtime-version") == "v2-alpha-tpuv5-lite"
    assert "--spot" in create
    assert len(describe) == 1


def test_a_request_that_failed_ends_the_wait(tmp_path):
    failed = {"queued-resources describe": ("FAILED\n", 0)}

    result = stubs.launch(
        tmp_path, "tpu_vm.sh", *VM, "--type", "v4-8", "create", replies=failed
    )

    assert result.code == 2
    assert "n is FAILED; delete it and create it again" in result.errors


def test_all_workers_of_a_tpu_get_the_command_under_the_restart_rule(tmp_path):
    (call,) = stubs.launch(tmp_path, "tpu_vm.sh", *VM, "run", *TRAIN).calls

    assert stubs.option(call, "--worker") == "all"
    command = stubs.option(call, "--command")
    assert "restart.sh ~/venv/bin/bertgrow pretrain --config demo:grow" in command
    assert r"--workdir /data/a\ run" in command
    assert "--coordinator" not in command


def test_machines_of_compute_engine_are_told_where_the_others_are(tmp_path):
    result = stubs.launch(tmp_path, "tpu_vm.sh", *SLICE, "run", *TRAIN, replies=MACHINES)

    _, *starts = result.calls
    for process, (call, name) in enumerate(zip(starts, ["n-ab", "n-cd"], strict=True)):
        where = f"--coordinator n-ab:8476 --processes 2 --process {process} "
        assert call[:4] == ["gcloud", "compute", "ssh", name]
        assert where in stubs.option(call, "--command")


def test_a_missing_machine_is_named_before_anything_starts(tmp_path):
    one = {"instances list": ("n-ab\n", 0)}

    result = stubs.launch(tmp_path, "tpu_vm.sh", *SLICE, "run", *TRAIN, replies=one)

    assert result.code == 2
    assert "1 machines are called n or n-...; --workers is 2" in result.errors
    assert len(result.calls) == 1


def test_a_pool_with_flex_start_begins_without_nodes(tmp_path):
    (call,) = stubs.launch(
        tmp_path, "gke/job.sh", *GKE, "--flex", "--workers", "8", "pool"
    ).calls

    assert "--flex-start" in call
    assert stubs.option(call, "--num-nodes") == "0"
    assert stubs.option(call, "--max-nodes") == "8"


def test_xpk_starts_again_on_75(tmp_path):
    words = [*GKE, "--image", "i", "xpk", *TRAIN]

    (call,) = stubs.launch(tmp_path, "gke/job.sh", *words).calls

    assert stubs.option(call, "--restart-on-exit-codes") == "75"
    assert stubs.option(call, "--command").startswith("bertgrow pretrain --config demo:grow")


def test_slurm_gets_one_task_for_every_gpu(tmp_path):
    words = ["--nodes", "2", "--gpus", "4", "--time", "12:00:00", *TRAIN]

    (call,) = stubs.launch(tmp_path, "slurm/submit.sh", *words).calls

    assert stubs.option(call, "--nodes") == "2"
    assert stubs.option(call, "--ntasks-per-node") == "4"
    assert stubs.option(call, "--gpus-per-node") == "4"
    assert call[-4:] == TRAIN[1:][-4:]


@pytest.mark.parametrize("code", [0, 2, 75])
def test_a_colab_machine_is_stopped_however_the_job_ends(tmp_path, code):
    words = [*SOURCE, "run", "--", "pretrain", "--config", "demo"]

    result = stubs.launch(tmp_path, "colab.sh", *words, replies={"colab run": ("", code)})

    assert result.code == code
    assert [call[1] for call in result.calls] == ["run", "download", "stop"]
    assert stubs.option(result.calls[0], "--tpu") == "v5e1"


def test_a_notebook_on_colab_gets_drive_and_its_source(tmp_path):
    result = stubs.launch(tmp_path, "colab.sh", *SOURCE, "notebook")

    assert [call[1] for call in result.calls] == ["new", "drivemount", "exec", "stop"]
    copy = (tmp_path / "bertgrow-colab.ipynb").read_text()
    assert SOURCE[1] in copy and "git+URL" not in copy


# The stand-in for `kaggle` keeps the metadata that it was given.
KEEP = """#!/usr/bin/env bash
cp "$4"/* "$KEPT"
"""


@pytest.mark.parametrize("session, accelerator", [(1, "TpuV5E8"), (2, "NvidiaTeslaT4")])
def test_a_kaggle_session_continues_from_the_one_before(tmp_path, session, accelerator):
    (stubs.install(tmp_path / "bin") / "kaggle").write_text(KEEP)
    kept = tmp_path / "kept"
    kept.mkdir()
    words = ["--owner", "o", *SOURCE, "--session", str(session), "--accelerator", accelerator]

    result = stubs.launch(tmp_path, "kaggle/push.sh", *words, "push", KEPT=str(kept))

    assert result.code == 0, result.errors
    metadata = json.loads((kept / "kernel-metadata.json").read_text())
    assert metadata["id"] == f"o/bertgrow-{session}"
    assert metadata["kernel_sources"] == ([] if session == 1 else ["o/bertgrow-1"])
    assert metadata["machine_shape"] == accelerator
    assert metadata["enable_tpu"] != metadata["enable_gpu"] == (session == 2)
    assert "docker_image" not in metadata  # pinned, it would turn a TPU into a CPU
    assert (kept / metadata["code_file"]).exists()


WRONG = [
    ("tpu_vm.sh", ["create"], "--name and --zone are needed"),
    ("tpu_vm.sh", [*VM, "create"], "--type is needed"),
    ("tpu_vm.sh", [*VM, "--type", "x-8", "create"], "no software version known"),
    ("tpu_vm.sh", [*VM, "fly"], "given 'fly'"),
    ("tpu_vm.sh", [*VM, "run", "pretrain"], "expected: run -- COMMAND"),
    ("tpu_vm.sh", [*VM, "--spot", "--flex", "1h", "create"], "not both"),
    ("gke/job.sh", ["submit", *TRAIN], "submit needs --image"),
    ("gke/job.sh", ["pool"], "pool needs --cluster"),
    ("slurm/submit.sh", ["pretrain"], "unknown option pretrain"),
    ("colab.sh", [*SOURCE, "--accelerator", "v5e8", "run"], "--accelerator v5e8: expected"),
    ("colab.sh", [*SOURCE, "notebook", "none.ipynb"], "no notebook none.ipynb"),
    ("kaggle/push.sh", ["push"], "--owner is needed"),
]


@pytest.mark.parametrize("script, words, message", WRONG)
def test_wrong_input_is_one_line_and_code_2(tmp_path, script, words, message):
    result = stubs.launch(tmp_path, script, *words)

    assert result.code == 2
    assert message in result.errors
    assert len(result.errors.splitlines()) == 1
    assert result.calls == []
