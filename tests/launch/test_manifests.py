"""Manifests follow their schemas; scripts and the Dockerfile pass their linters."""

import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import stubs
import yaml

BIN = Path(sys.executable).parent
ROOT = stubs.LAUNCH.parent
VERSION = "1.34"  # of Kubernetes

# The fields of a JobSet in use, after the CRD of jobset.x-k8s.io/v1alpha2. `template` is a
# template of Kubernetes' own Job, which has a schema of its own.
ACTIONS = [
    "FailJobSet",
    "RestartJobSet",
    "RestartJobSetAndIgnoreMaxRestarts",
    "RestartJob",
    "RestartJobAndIgnoreMaxRestarts",
]
RULE = {
    "type": "object",
    "required": ["name", "action"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
        "action": {"enum": ACTIONS},
        "targetReplicatedJobs": {"type": "array", "items": {"type": "string"}},
        "onJobFailureReasons": {
            "type": "array",
            "items": {"enum": ["BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy"]},
        },
    },
}
JOBS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "template"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string"},
            "replicas": {"type": "integer", "minimum": 1},
            "template": {"type": "object", "required": ["spec"]},
        },
    },
}
JOBSET = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
        "kind": {"const": "JobSet"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "required": ["replicatedJobs"],
            "additionalProperties": False,
            "properties": {
                "failurePolicy": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "maxRestarts": {"type": "integer", "minimum": 0},
                        "rules": {"type": "array", "items": RULE},
                    },
                },
                "replicatedJobs": JOBS,
            },
        },
    },
}

# The fields in use of a task of SkyPilot 0.14.
CODES = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}}
SKYPILOT = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "workdir": {"type": "string"},
        "setup": {"type": "string"},
        "run": {"type": "string"},
        "envs": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        "resources": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "accelerators": {"type": "string"},
                "use_spot": {"type": "boolean"},
                "job_recovery": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "max_restarts_on_errors": {"type": "integer", "minimum": 0},
                        "recover_on_exit_codes": CODES,
                    },
                },
            },
        },
        "file_mounts": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string"},
                    "store": {"enum": ["gcs", "s3"]},
                    "mode": {"enum": ["MOUNT", "COPY", "MOUNT_CACHED"]},
                },
            },
        },
    },
}


def submitted(tmp_path, *options):
    """The JobSet that launch/gke/job.sh would submit."""
    command = ["submit", "--", "pretrain", "--config", "demo:grow", "--workdir", "/data/a run"]
    words = ["--dry-run", "--image", "registry/bertgrow:1", *options, *command]
    result = stubs.launch(tmp_path, "gke/job.sh", *words)
    assert result.code == 0, result.errors
    return yaml.safe_load(result.output)


@pytest.mark.parametrize("options", [[], ["--flex"], ["--name", "x", "--workers", "2"]])
def test_a_submitted_jobset_follows_its_schemas(tmp_path, options):
    jobset = submitted(tmp_path, *options)

    jsonschema.validate(jobset, JOBSET)
    assert jobset["metadata"]["name"] == ("x" if "--name" in options else "bertgrow")
    (job,) = jobset["spec"]["replicatedJobs"]
    plain = dict(apiVersion="batch/v1", kind="Job", metadata=dict(name="worker"))
    kubernetes_validate.validate(plain | job["template"], VERSION, strict=True)


def test_a_jobset_runs_the_command_on_the_slice_that_was_named(tmp_path):
    options = [
        "--workers",
        "8",
        "--topology",
        "8x8",
        "--chips",
        "8",
        "--flex",
        "--name",
        "base",
    ]

    jobset = submitted(tmp_path, *options)

    assert jobset["metadata"]["name"] == "base"
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert job["parallelism"] == job["completions"] == 8
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "8x8"
    assert pod["nodeSelector"]["cloud.google.com/gke-flex-start"] == "true"
    assert container["image"] == "registry/bertgrow:1"
    assert container["resources"]["limits"] == {"google.com/tpu": 8}
    assert (
        r"exec bertgrow pretrain --config demo:grow --workdir /data/a\ run"
        in container["args"][0]
    )


def test_a_jobset_ends_on_1_and_2_and_starts_again_otherwise(tmp_path):
    spec = submitted(tmp_path)["spec"]

    (rule,) = spec["failurePolicy"]["rules"]
    assert rule["action"] == "FailJobSet"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert spec["failurePolicy"]["maxRestarts"] > 0
    job = spec["replicatedJobs"][0]["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == dict(containerName="bertgrow", operator="In", values=[1, 2])
    assert job["backoffLimit"] == 0


@pytest.mark.parametrize("index, code", [("", 2), ("3", 0)])
def test_a_pod_without_its_index_stops_at_once(tmp_path, index, code):
    job = submitted(tmp_path)["spec"]["replicatedJobs"][0]["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    stubs.install(tmp_path / "programs", ["bertgrow"])
    variables = dict(PATH=f"{tmp_path / 'programs'}:/usr/bin:/bin", STUB_REPLIES="{}")
    variables |= dict(JOB_COMPLETION_INDEX=index, STUB_CALLS=str(tmp_path / "started"))

    child = subprocess.run(
        [*container["command"], *container["args"]],
        env=variables,
        capture_output=True,
        text=True,
    )

    assert child.returncode == code
    assert ("JOB_COMPLETION_INDEX is not set" in child.stderr) == (code == 2)
    assert (tmp_path / "started").exists() == (code == 0)


def test_the_volume_follows_its_schema():
    volume = yaml.safe_load((stubs.LAUNCH / "gke/volume.yaml").read_text())

    kubernetes_validate.validate(volume, VERSION, strict=True)
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_skypilot_job_follows_its_schema_and_recovers_on_75():
    task = yaml.safe_load((stubs.LAUNCH / "skypilot.yaml").read_text())

    jsonschema.validate(task, SKYPILOT)
    codes = task["resources"]["job_recovery"]["recover_on_exit_codes"]
    assert 75 in codes and not {0, 1, 2} & set(codes)


def test_the_dockerfile_passes_hadolint():
    child = subprocess.run([BIN / "hadolint", stubs.LAUNCH / "Dockerfile"], capture_output=True)

    assert child.returncode == 0, child.stdout.decode()


def test_the_image_gets_every_file_that_it_copies():
    text = (stubs.LAUNCH / "Dockerfile").read_text()
    copied = {w for line in re.findall(r"^COPY (.*)$", text, re.M) for w in line.split()[:-1]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_the_scripts_pass_shellcheck():
    scripts = [*stubs.LAUNCH.rglob("*.sh"), *stubs.LAUNCH.rglob("*.sbatch")]

    child = subprocess.run(
        [BIN / "shellcheck", "--external-sources", "--source-path", ROOT, *scripts],
        capture_output=True,
    )

    assert child.returncode == 0, child.stdout.decode()
