"""Stand-ins for gcloud, kubectl and others on PATH: they record how they were called."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
PROGRAMS = ["gcloud", "kubectl", "xpk", "colab", "kaggle", "sbatch", "scontrol"]
STUB = f"""#!{sys.executable} -SE
import json, os, sys
call = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
with open(os.environ["STUB_CALLS"], "a") as log:
    log.write(json.dumps(call) + "\\n")
for part, (output, code) in json.loads(os.environ["STUB_REPLIES"]).items():
    if part in " ".join(call):
        print(output, end="")
        sys.exit(code)
"""


class Result(NamedTuple):
    code: int
    calls: list  # of the stand-ins, in order, each a list of words
    printed: list  # of the commands that the script printed, in the same form
    output: str
    errors: str


def install(folder, programs=PROGRAMS):
    """Writes the stand-ins into a folder."""
    folder.mkdir()
    for program in programs:
        (folder / program).write_text(STUB)
        (folder / program).chmod(0o755)
    return folder


def launch(folder, script, *words, replies=None, **variables):
    """Runs a script of launch/ in an empty folder with the stand-ins on PATH.

    Args:
      folder: a temporary folder.
      script: below launch/, e.g. "gke/job.sh".
      words: its arguments.
      replies: {part of a command: (its output, its exit code)}; else nothing and 0.
      variables: of the environment.
    """
    bin_, calls = folder / "bin", folder / "calls"
    if not bin_.exists():
        install(bin_)
    calls.write_text("")
    variables |= dict(STUB_CALLS=str(calls), STUB_REPLIES=json.dumps(replies or {}))
    variables |= dict(PATH=f"{bin_}:{os.environ['PATH']}", PYTHON=sys.executable)
    child = subprocess.run(
        ["bash", str(LAUNCH / script), *words],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    recorded = [json.loads(line) for line in calls.read_text().splitlines()]
    return Result(
        child.returncode, recorded, _printed(child.stderr), child.stdout, child.stderr
    )


def _printed(errors):
    """The words of every line `+ COMMAND`, as bash reads them."""
    lines = [line[2:] for line in errors.splitlines() if line.startswith("+ ")]
    program = "; ".join(f"printf '%s\\37' {line}; printf '\\36'" for line in lines)
    if not lines:
        return []
    read = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    return [text.split("\37")[:-1] for text in read.stdout.split("\36")[:-1]]


def option(call, name):
    """The value of `name VALUE` or `name=VALUE` in a call."""
    for word, after in zip(call, [*call[1:], None], strict=True):
        if word == name:
            return after
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    raise AssertionError(f"{name} is not in {shlex.join(call)}")
