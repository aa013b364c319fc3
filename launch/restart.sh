#!/usr/bin/env bash
# Runs a command again while its exit code asks for it: launch/restart.sh COMMAND [ARGUMENT...]
#
#   0, 1, 2   finished, diverged, bad input: stops with the same code
#   75        saved and stopped early: runs it again, and it continues
#   above 128 ended by a signal (137: out of memory on the host): runs it again
#
# RESTARTS (default 20) limits the restarts, RESTART_PAUSE (default 10) is the pause in seconds.
# SIGTERM and Ctrl-C reach the command as SIGTERM; it saves, and is not started again.

# Whether a command with this exit code should run again.
runs_again() { [ "$1" -eq 75 ] || [ "$1" -gt 128 ]; }

restart() {
    local code child restarts=0 stop=
    trap 'stop=1; [ -z "${child:-}" ] || kill -TERM "$child" 2>/dev/null' TERM INT
    while :; do
        "$@" &
        child=$!
        code=0
        wait "$child" || code=$?
        # A trapped signal ends `wait` early; the command is still saving.
        while kill -0 "$child" 2>/dev/null; do
            code=0
            wait "$child" || code=$?
        done
        if [ -n "$stop" ] || ! runs_again "$code" || [ "$restarts" -ge "${RESTARTS:-20}" ]; then
            echo "restart.sh: exit code $code after $restarts restarts" >&2
            return "$code"
        fi
        restarts=$((restarts + 1))
        echo "restart.sh: exit code $code, restart $restarts of ${RESTARTS:-20}" >&2
        sleep "${RESTART_PAUSE:-10}" &
        wait $! || true
        if [ -n "$stop" ]; then return "$code"; fi
    done
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    if [ $# -eq 0 ]; then
        echo "restart.sh: no command given; expected: restart.sh COMMAND [ARGUMENT...]" >&2
        exit 2
    fi
    restart "$@"
fi
