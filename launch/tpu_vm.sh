#!/usr/bin/env bash
# Trains on Cloud TPU machines, one or a whole slice: create, install, run, logs, stop, delete.
#
#   launch/tpu_vm.sh --name N --zone Z --type v5litepod-16 create
#   launch/tpu_vm.sh --name N --zone Z install
#   launch/tpu_vm.sh --name N --zone Z run -- pretrain --config RECIPE --workdir /data/run ...
#   launch/tpu_vm.sh --name N --zone Z logs
#   launch/tpu_vm.sh --name N --zone Z stop | delete
#
# Every step acts on all workers: a program that runs on one worker alone waits for the others.
# `run` starts the command in the background under launch/restart.sh and returns.
#
#   --api queued        queued resources of the Cloud TPU API (default): v4, v5e, v5p, v6e
#   --api compute       Compute Engine: v5p, v6e and later; give it at each step
#   --project P         default: that of gcloud; needed to create a slice on Compute Engine
#   --type T            queued: v5litepod-16, v5p-16, v6e-16, ...
#   --runtime V         queued: software version; default: by --type
#   --machine M         compute: e.g. ct6e-standard-4t, ct5p-hightpu-4t
#   --workers N         compute: machines of the slice; default: 1
#   --topology T        compute, needed with more than one worker: e.g. 4x4
#   --image-family F    compute; default: ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e
#   --spot              cheaper, may be taken away at any time
#   --flex DURATION     flex-start: waits for capacity, then keeps it so long, e.g. 6h
#   --nfs HOST:/SHARE   install: mounts it at /data on all workers
#   --worker I          logs: of this worker; default: 0
#   --dry-run           print the commands only

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/commands.sh
. "$here/commands.sh"

IMAGE_PROJECT=ubuntu-os-accelerator-images
PORT=8476 # of the coordinator, where the workers are not found by JAX itself
api=queued name='' zone='' type='' runtime='' machine='' workers=1 topology='' nfs='' worker=0
image=ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e spot='' flex='' project_id='' project=()
while [ $# -gt 0 ]; do
    case $1 in
        --api) api=${2:?} && shift 2 ;;
        --name) name=${2:?} && shift 2 ;;
        --zone) zone=${2:?} && shift 2 ;;
        --project) project_id=${2:?} && project=(--project="$2") && shift 2 ;;
        --type) type=${2:?} && shift 2 ;;
        --runtime) runtime=${2:?} && shift 2 ;;
        --machine) machine=${2:?} && shift 2 ;;
        --workers) workers=${2:?} && shift 2 ;;
        --topology) topology=${2:?} && shift 2 ;;
        --image-family) image=${2:?} && shift 2 ;;
        --spot) spot=1 && shift ;;
        --flex) flex=${2:?} && shift 2 ;;
        --nfs) nfs=${2:?} && shift 2 ;;
        --worker) worker=${2:?} && shift 2 ;;
        --dry-run) DRY_RUN=1 && shift ;;
        -h | --help) usage && exit ;;
        -*) fail "unknown option $1; see --help" ;;
        *) break ;;
    esac
done
action=${1:-}
[ $# -eq 0 ] || shift
[ -n "$name" ] && [ -n "$zone" ] || fail "--name and --zone are needed"
[ "$api" = queued ] || [ "$api" = compute ] || fail "--api $api: expected queued or compute"
[ -z "$spot" ] || [ -z "$flex" ] || fail "give --spot or --flex, not both"
at=(--zone="$zone" "${project[@]}")

# --- The Cloud TPU API -------------------------------------------------------------------------

runtime_of() {
    case $1 in
        v4-*) echo tpu-ubuntu2204-base ;;
        v5litepod-*) echo v2-alpha-tpuv5-lite ;;
        v5p-*) echo v2-alpha-tpuv5 ;;
        v6e-*) echo v2-alpha-tpuv6e ;;
        *) fail "no software version known for --type '$1'; give --runtime" ;;
    esac
}

queued_create() {
    [ -n "$type" ] || fail "--type is needed, e.g. v5litepod-16"
    [ -n "$runtime" ] || runtime=$(runtime_of "$type")
    local words=(compute tpus queued-resources create "$name" "${at[@]}" --node-id="$name")
    words+=(--accelerator-type="$type" --runtime-version="$runtime")
    [ -z "$spot" ] || words+=(--spot)
    if [ -n "$flex" ]; then # only the alpha command has these
        words=(alpha "${words[@]}" --provisioning-model=flex-start)
        words+=(--max-run-duration="$flex" --valid-until-duration="$flex")
    fi
    run gcloud "${words[@]}"
    local state
    while :; do
        state=$(run gcloud compute tpus queued-resources describe "$name" "${at[@]}" \
            --format='value(state.state)')
        [ -z "$DRY_RUN" ] || return 0
        echo "$name: $state" >&2
        case $state in
            ACTIVE) return 0 ;;
            FAILED | SUSPEND*) fail "$name is $state; delete it and create it again" ;;
        esac
        sleep "${POLL_SECONDS:-30}"
    done
}

queued_copy() { run gcloud compute tpus tpu-vm scp "$@" "$name:" "${at[@]}" --worker=all; }

queued_ssh() { # WORKER COMMAND
    run gcloud compute tpus tpu-vm ssh "$name" "${at[@]}" --worker="$1" --command="$2"
}

queued_delete() {
    run gcloud compute tpus queued-resources delete "$name" "${at[@]}" --force --quiet
}

queued_all() { queued_ssh all "$1"; }

# --- Compute Engine ----------------------------------------------------------------------------

region() { echo "${zone%-*}"; }

compute_create() {
    [ -n "$machine" ] || fail "--machine is needed, e.g. ct6e-standard-4t"
    # A TPU machine cannot move while it runs; the scope gives it the rights of its account.
    local shape=(--machine-type="$machine" --image-family="$image" --image-project="$IMAGE_PROJECT")
    shape+=(--maintenance-policy=TERMINATE --scopes=cloud-platform)
    [ -z "$spot" ] || shape+=(--provisioning-model=SPOT --instance-termination-action=STOP)
    [ -z "$flex" ] || shape+=(--provisioning-model=FLEX_START --max-run-duration="$flex"
        --request-valid-for-duration=2h --instance-termination-action=DELETE)
    if [ "$workers" -eq 1 ]; then
        run gcloud compute instances create "$name" "${at[@]}" "${shape[@]}"
        return
    fi
    [ -n "$topology" ] && [ -n "$project_id" ] ||
        fail "--topology, e.g. 4x4, and --project are needed for $workers workers"
    run gcloud compute resource-policies create workload-policy "$name" "${project[@]}" \
        --region="$(region)" --type=HIGH_THROUGHPUT --accelerator-topology="$topology"
    local policy
    policy=projects/$project_id/regions/$(region)/resourcePolicies/$name
    run gcloud compute instance-templates create "$name" "${project[@]}" "${shape[@]}"
    # `bulk`: all machines or none; a slice with a hole is of no use.
    run gcloud compute instance-groups managed create "$name" "${at[@]}" --size="$workers" \
        --template="$name" --workload-policy="$policy" --target-size-policy-mode=bulk \
        --default-action-on-vm-failure=do-nothing
}

# Sets `names`. A missing machine is an error: the others would wait for it.
compute_names() {
    mapfile -t names < <(run gcloud compute instances list "${project[@]}" --zones="$zone" \
        --filter="name~^$name(-|$)" --sort-by=name --format='value(name)')
    [ -z "$DRY_RUN" ] || mapfile -t names < <(seq -f "$name-%g" 0 $((workers - 1)))
    [ ${#names[@]} -eq "$workers" ] ||
        fail "${#names[@]} machines are called $name or $name-...; --workers is $workers"
}

compute_copy() {
    local names one
    compute_names
    for one in "${names[@]}"; do run gcloud compute scp "$@" "$one:" "${at[@]}"; done
}

compute_ssh() { # WORKER COMMAND
    local names
    compute_names
    [ -n "${names[$1]:-}" ] || fail "--worker $1: expected 0 to $((workers - 1))"
    run gcloud compute ssh "${names[$1]}" "${at[@]}" --command="$2"
}

# The command may name {workers}, {worker} and {first}.
compute_all() {
    local i names command
    compute_names
    for i in "${!names[@]}"; do
        command=${1//\{first\}/${names[0]}}
        command=${command//\{workers\}/${#names[@]}}
        run gcloud compute ssh "${names[i]}" "${at[@]}" --command="${command//\{worker\}/$i}"
    done
}

compute_delete() {
    if [ "$workers" -eq 1 ]; then
        run gcloud compute instances delete "$name" "${at[@]}" --quiet
        return
    fi
    run gcloud compute instance-groups managed delete "$name" "${at[@]}" --quiet
    run gcloud compute instance-templates delete "$name" "${project[@]}" --quiet
    run gcloud compute resource-policies delete "$name" "${project[@]}" \
        --region="$(region)" --quiet
}

# --- The steps ---------------------------------------------------------------------------------

install() {
    local wheels
    wheels=$(mktemp -d)
    run "${PYTHON:-python3}" -m pip wheel --quiet --no-deps --wheel-dir "$wheels" "$here/.."
    [ -z "$DRY_RUN" ] || touch "$wheels/bertgrow.whl"
    "${api}_copy" "$wheels"/bertgrow*.whl "$here/../requirements.lock" "$here/restart.sh"
    rm -r "$wheels"
    # The images have Python 3.10; uv brings 3.12. The lock gives the versions that were tested.
    # shellcheck disable=SC2016 # expanded on the workers
    "${api}_all" 'set -e; curl -LsSf https://astral.sh/uv/install.sh | sh
~/.local/bin/uv venv --clear --python 3.12 ~/venv
~/.local/bin/uv pip install --python ~/venv -c requirements.lock "$(ls ~/bertgrow*.whl)[tpu]"'
    [ -z "$nfs" ] || "${api}_all" "sudo apt-get install -y nfs-common
sudo mkdir -p /data && sudo mount $nfs /data && sudo chmod a+rwx /data"
}

start() {
    [ "${1-}" = -- ] && [ $# -gt 1 ] || fail "expected: run -- COMMAND ARGUMENTS"
    shift
    local command where=''
    command=$(printf ' %q' "$@")
    # Queued resources describe the slice to JAX; machines of Compute Engine get it from here.
    [ "$api" = queued ] || [ "$workers" -eq 1 ] ||
        where=" --coordinator {first}:$PORT --processes {workers} --process {worker}"
    "${api}_all" "nohup setsid bash restart.sh ~/venv/bin/bertgrow$command$where \
>>bertgrow.log 2>&1 </dev/null & echo \$! >bertgrow.pid"
}

# shellcheck disable=SC2016 # expanded on the workers
case $action in
    create) "${api}_create" ;;
    install) install ;;
    run) start "$@" ;;
    logs) "${api}_ssh" "$worker" 'tail -n 200 -F bertgrow.log' ;;
    stop) "${api}_all" 'kill -TERM "$(cat bertgrow.pid)"' ;;
    delete) "${api}_delete" ;;
    *) fail "expected create, install, run, logs, stop or delete, given '$action'; see --help" ;;
esac
