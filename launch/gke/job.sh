#!/usr/bin/env bash
# Trains on a TPU slice of a GKE cluster: makes the node pool, submits the JobSet, shows its logs.
#
#   launch/gke/job.sh --cluster C --location L --zone Z pool
#   launch/gke/job.sh --image I submit -- pretrain --config RECIPE --workdir /data/run ...
#   launch/gke/job.sh --image I --cluster C --zone Z --project P xpk -- pretrain ...
#   launch/gke/job.sh logs | status | delete
#
# `submit` uses launch/gke/jobset.yaml and the disk of launch/gke/volume.yaml, mounted at /data.
# `xpk` submits the same command with XPK, which has its own JobSet, instead.
#
#   --name N            of the job and the node pool; default: bertgrow
#   --accelerator A     default: tpu-v5-lite-podslice (v5e); tpu-v5p-slice, tpu-v6e-slice
#   --topology T        default: 4x4
#   --workers N         machines of the slice; default: 4
#   --chips N           chips of one machine; default: 4
#   --machine M         pool: default: ct5lp-hightpu-4t; ct5p-hightpu-4t, ct6e-standard-4t
#   --tpu-type T        xpk: default: v5litepod-16
#   --flex              flex-start (DWS): waits for capacity, at most 7 days; pool and submit
#   --spot              pool: cheaper, may be taken away at any time
#   --dry-run           print the commands, and the manifest, only

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/commands.sh
. "$here/../commands.sh"

name=bertgrow image='' cluster='' location='' zone='' project='' flex='' spot=''
accelerator=tpu-v5-lite-podslice topology=4x4 workers=4 chips=4 machine=ct5lp-hightpu-4t
tpu_type=v5litepod-16
while [ $# -gt 0 ]; do
    case $1 in
        --name) name=${2:?} && shift 2 ;;
        --image) image=${2:?} && shift 2 ;;
        --cluster) cluster=${2:?} && shift 2 ;;
        --location) location=${2:?} && shift 2 ;;
        --zone) zone=${2:?} && shift 2 ;;
        --project) project=${2:?} && shift 2 ;;
        --accelerator) accelerator=${2:?} && shift 2 ;;
        --topology) topology=${2:?} && shift 2 ;;
        --workers) workers=${2:?} && shift 2 ;;
        --chips) chips=${2:?} && shift 2 ;;
        --machine) machine=${2:?} && shift 2 ;;
        --tpu-type) tpu_type=${2:?} && shift 2 ;;
        --flex) flex=1 && shift ;;
        --spot) spot=1 && shift ;;
        --dry-run) DRY_RUN=1 && shift ;;
        -h | --help) usage && exit ;;
        -*) fail "unknown option $1; see --help" ;;
        *) break ;;
    esac
done
action=${1:-}
[ $# -eq 0 ] || shift

needs() { # OPTION VALUE
    [ -n "$2" ] || fail "$action needs $1"
}

# The words after `--`, quoted for a shell.
command_line() {
    [ "${1-}" = -- ] && [ $# -gt 1 ] || fail "expected: $action -- COMMAND ARGUMENTS"
    shift
    printf '%q ' "$@"
}

pool() {
    needs --cluster "$cluster"
    needs --location "$location"
    needs --zone "$zone"
    local words=(container node-pools create "$name" --cluster="$cluster")
    words+=(--location="$location" --node-locations="$zone" --machine-type="$machine")
    words+=(--tpu-topology="$topology")
    if [ -n "$flex" ]; then
        words+=(--flex-start --reservation-affinity=none --enable-autoscaling)
        words+=(--num-nodes=0 --min-nodes=0 --max-nodes="$workers")
    else
        words+=(--num-nodes="$workers")
    fi
    [ -z "$spot" ] || words+=(--spot)
    run gcloud "${words[@]}"
}

manifest() { # COMMAND LINE
    local text
    text=$(cat "$here/jobset.yaml")
    text=${text/COMMAND/"$1"}
    text=${text/image: IMAGE/"image: $image"}
    text=${text/name: bertgrow/"name: $name"} # the first one, of the JobSet
    text=${text//: 4 # machines/: $workers}
    text=${text/: 4 # chips/: $chips # chips}
    text=${text/tpu-v5-lite-podslice/$accelerator}
    text=${text/topology: 4x4/topology: $topology}
    [ -z "$flex" ] || text=${text/topology: $topology/"topology: $topology
                cloud.google.com/gke-flex-start: \"true\""}
    printf '%s\n' "$text"
}

submit() {
    needs --image "$image"
    local command file
    command=$(command_line "$@")
    file=$(mktemp)
    manifest "$command" >"$file"
    [ -z "$DRY_RUN" ] || cat "$file"
    run kubectl apply -f "$here/volume.yaml"
    run kubectl apply -f "$file"
    rm "$file"
}

# Without --restart-on-exit-codes XPK starts again on 42 and 127 to 255 only.
xpk_submit() {
    needs --image "$image"
    needs --cluster "$cluster"
    needs --zone "$zone"
    needs --project "$project"
    local command
    command=$(command_line "$@")
    run xpk workload create --workload="$name" --cluster="$cluster" --project="$project" \
        --zone="$zone" --tpu-type="$tpu_type" --num-slices=1 --docker-image="$image" \
        --restart-on-exit-codes=75 --max-restarts=100 --command="bertgrow $command"
}

case $action in
    pool) pool ;;
    submit) submit "$@" ;;
    xpk) xpk_submit "$@" ;;
    logs) run kubectl logs --follow --prefix --max-log-requests="$workers" \
        -l "jobset.sigs.k8s.io/jobset-name=$name" ;;
    status) run kubectl describe jobset "$name" ;;
    delete) run kubectl delete jobset "$name" ;;
    *) fail "expected pool, submit, xpk, logs, status or delete, given '$action'; see --help" ;;
esac
