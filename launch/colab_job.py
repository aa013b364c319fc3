"""Runs on the Colab machine: installs bertgrow, runs one command, packs its working directory.

launch/colab.sh passes: SOURCE COMMAND [ARGUMENT...]
"""

import importlib.metadata
import shutil
import subprocess
import sys

source, *arguments = sys.argv[1:]
# The image's jax belongs to its TPU or GPU driver: pip may not replace it.
kept = [f"{name}=={importlib.metadata.version(name)}" for name in ("jax", "jaxlib")]
subprocess.run([sys.executable, "-m", "pip", "install", "-q", source, *kept], check=True)
command = [sys.executable, "-P", "-m", "bertgrow", *arguments, "--workdir", "run"]
# Through a pipe: a notebook kernel shows what is printed, not what a child process writes.
with subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
) as child:
    for line in child.stdout:
        print(line, end="", flush=True)
code = child.returncode
shutil.make_archive("run", "gztar", ".", "run")
sys.exit(code if code >= 0 else 128 - code)
