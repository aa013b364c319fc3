# Shared by the launch scripts: prints each command, and runs it unless --dry-run was given.
# shellcheck shell=bash

DRY_RUN=

# Prints a command as it could be typed, then runs it.
run() {
    {
        printf '+'
        printf ' %q' "$@"
        printf '\n'
    } >&2
    [ -n "$DRY_RUN" ] || "$@"
}

# Bad input: one line, exit code 2.
fail() {
    echo "${0##*/}: $*" >&2
    exit 2
}

# The comment at the top of the script is its help.
usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

# What pip installs on another machine: the first argument, else the remote `origin`.
source_or_origin() {
    local url
    if [ -n "$1" ]; then
        echo "$1"
    elif url=$(git -C "$(dirname "${BASH_SOURCE[0]}")" remote get-url origin 2>/dev/null); then
        echo "git+$url"
    else
        fail "no remote 'origin' to install from; give --source, e.g. git+https://HOST/OWNER/bertgrow"
    fi
}

# Copies a notebook and sets what it installs: FROM TO SOURCE
copy_notebook() {
    [ -f "$1" ] || fail "no notebook $1"
    sed "s|git+URL|$3|" "$1" >"$2"
}
