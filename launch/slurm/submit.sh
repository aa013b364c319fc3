#!/usr/bin/env bash
# Submits a pre-training job on GPUs of several nodes to Slurm.
#
#   launch/slurm/submit.sh --nodes 2 --gpus 8 -- pretrain --config RECIPE --workdir RUN ...
#
# One task for every GPU, as JAX expects on Slurm; the store and RUN lie on a shared disk. The
# job is queued again after a time limit, a preemption or a lost node, and continues.
#
#   --nodes N        default: 1
#   --gpus N         GPUs of each node; default: 8
#   --time LIMIT     of one start, in Slurm's form; default: that of the partition
#   --partition P    default: that of the cluster
#   --program FILE   bertgrow on the nodes; default: the one on PATH
#   --dry-run        print the command only

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/commands.sh
. "$here/../commands.sh"

nodes=1 gpus=8 program=bertgrow options=()
while [ $# -gt 0 ]; do
    case $1 in
        --nodes) nodes=${2:?} && shift 2 ;;
        --gpus) gpus=${2:?} && shift 2 ;;
        --time) options+=(--time="${2:?}") && shift 2 ;;
        --partition) options+=(--partition="${2:?}") && shift 2 ;;
        --program) program=${2:?} && shift 2 ;;
        --dry-run) DRY_RUN=1 && shift ;;
        -h | --help) usage && exit ;;
        --) break ;;
        *) fail "unknown option $1; see --help" ;;
    esac
done
[ "${1-}" = -- ] && [ $# -gt 1 ] || fail "expected: submit.sh OPTIONS -- COMMAND ARGUMENTS"
shift
run sbatch --nodes="$nodes" --ntasks-per-node="$gpus" --gpus-per-node="$gpus" "${options[@]}" \
    "$here/job.sbatch" "$here/.." "$program" "$@"
