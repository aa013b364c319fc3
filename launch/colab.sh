#!/usr/bin/env bash
# Trains on a Colab machine from a shell, with the command `colab` (pip install google-colab-cli).
#
#   launch/colab.sh [OPTIONS] run -- pretrain --config demo:grow   # one job on a fresh machine
#   launch/colab.sh [OPTIONS] notebook [FILE]                      # a notebook, kept on Drive
#
# `run` adds `--workdir run` and downloads run.tar.gz, the working directory, in every case.
# `notebook` mounts Google Drive first, where the notebook saves and continues. It runs a copy,
# NAME-colab.ipynb in this folder, and `colab` writes the outputs to NAME-colab_output.ipynb.
#
#   --accelerator NAME  v5e1, v6e1 (TPU), T4, L4, A100, H100 (GPU); default: v5e1
#   --source WHAT       what pip installs; default: git+ the address of the remote `origin`
#   --session NAME      default: bertgrow
#   --dry-run           print the commands only

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/commands.sh
. "$here/commands.sh"

accelerator=v5e1 source='' session=bertgrow
while [ $# -gt 0 ]; do
    case $1 in
        --accelerator) accelerator=${2:?} && shift 2 ;;
        --source) source=${2:?} && shift 2 ;;
        --session) session=${2:?} && shift 2 ;;
        --dry-run) DRY_RUN=1 && shift ;;
        -h | --help) usage && exit ;;
        -*) fail "unknown option $1; see --help" ;;
        *) break ;;
    esac
done
case $accelerator in
    v5e1 | v6e1) device=(--tpu "$accelerator") ;;
    T4 | L4 | A100 | H100) device=(--gpu "$accelerator") ;;
    *) fail "--accelerator $accelerator: expected v5e1, v6e1, T4, L4, A100 or H100" ;;
esac

# The machine costs compute units until it is stopped, whatever happened on it.
stop() { run colab stop -s "$session" || true; }

train() {
    [ "${1-}" = -- ] || fail "expected: run -- COMMAND ARGUMENTS, e.g. run -- pretrain --config demo:grow"
    shift
    trap stop EXIT
    local code=0
    # `--` ends the options of colab; all that follows goes to the script.
    run colab run --keep -s "$session" "${device[@]}" -- "$here/colab_job.py" "$source" "$@" || code=$?
    run colab download -s "$session" /content/run.tar.gz run.tar.gz || true
    return "$code"
}

notebook() {
    local from=${1:-$here/notebooks/bertgrow.ipynb} file
    file=$(basename "${from%.ipynb}")-colab.ipynb
    copy_notebook "$from" "$file" "$source"
    run colab new -s "$session" "${device[@]}"
    trap stop EXIT
    run colab drivemount -s "$session"
    run colab exec -s "$session" -f "$file"
}

source=$(source_or_origin "$source")
action=${1:-}
[ $# -eq 0 ] || shift
case $action in
    run) train "$@" ;;
    notebook) notebook "$@" ;;
    *) fail "expected run or notebook, given '$action'; see --help" ;;
esac
