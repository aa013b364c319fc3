#!/usr/bin/env bash
# Pushes a notebook to Kaggle and runs it there, with the command `kaggle` (pip install kaggle).
#
#   launch/kaggle/push.sh --owner USER push               # the first session
#   launch/kaggle/push.sh --owner USER --session 2 push   # continues from the output of the first
#   launch/kaggle/push.sh --owner USER --session 2 logs | status | output
#
# Session N is the kernel NAME-N, whose input is the output of NAME-(N-1).
#
#   --owner USER        your Kaggle user name
#   --session N         default: 1
#   --source WHAT       what pip installs; default: git+ the address of the remote `origin`
#   --notebook FILE     default: launch/notebooks/bertgrow.ipynb
#   --accelerator NAME  TpuV5E8 (default), NvidiaTeslaT4, ...
#   --minutes N         the longest session; default: 540, nine hours
#   --dry-run           print the commands only

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/commands.sh
. "$here/../commands.sh"

owner='' notebook=$here/../notebooks/bertgrow.ipynb accelerator=TpuV5E8 minutes=540
session=1 source=''
while [ $# -gt 0 ]; do
    case $1 in
        --owner) owner=${2:?} && shift 2 ;;
        --notebook) notebook=${2:?} && shift 2 ;;
        --accelerator) accelerator=${2:?} && shift 2 ;;
        --minutes) minutes=${2:?} && shift 2 ;;
        --session) session=${2:?} && shift 2 ;;
        --source) source=${2:?} && shift 2 ;;
        --dry-run) DRY_RUN=1 && shift ;;
        -h | --help) usage && exit ;;
        -*) fail "unknown option $1; see --help" ;;
        *) break ;;
    esac
done
[ -n "$owner" ] || fail "--owner is needed, your Kaggle user name"
name=$(basename "${notebook%.ipynb}")
kernel=$owner/$name-$session

# A folder with the notebook and its metadata. The metadata must not pin `docker_image`: with a
# pinned image a TPU request silently gets a CPU (kaggle-cli#1197).
push() {
    local folder edits
    folder=$(mktemp -d)
    copy_notebook "$notebook" "$folder/$name.ipynb" "$(source_or_origin "$source")"
    edits=(-e "s|OWNER/bertgrow|$kernel|" -e "s|\"title\": \".*\"|\"title\": \"$name-$session\"|"
        -e "s|bertgrow.ipynb|$name.ipynb|" -e "s|TpuV5E8|$accelerator|")
    [ "$session" -eq 1 ] ||
        edits+=(-e "s|\"kernel_sources\": \[\]|\"kernel_sources\": [\"$owner/$name-$((session - 1))\"]|")
    case $accelerator in
        Tpu*) ;;
        *) edits+=(-e '/enable_gpu/s/false/true/' -e '/enable_tpu/s/true/false/') ;;
    esac
    sed "${edits[@]}" "$here/kernel-metadata.json" >"$folder/kernel-metadata.json"
    run kaggle kernels push -p "$folder" --accelerator "$accelerator" --timeout $((minutes * 60))
    rm -r "$folder"
}

case ${1:-} in
    push) push ;;
    logs) run kaggle kernels logs "$kernel" --follow ;;
    status) run kaggle kernels status "$kernel" ;;
    output) run kaggle kernels output "$kernel" -p "$name-$session" ;;
    *) fail "expected push, logs, status or output, given '${1:-}'; see --help" ;;
esac
