#!/bin/sh
# Switches the device off in a minute, so that the result can still be reported.
# Arguments: USER
set -eu

if [ "${THINGJOBS_SCHEMA:-1.0}" = flat ]; then user=; else user=${1-}; [ $# -eq 0 ] || shift; fi

# The agent has become the user already; elsewhere sudo must do it, or nothing is done.
run() {
    if [ -z "$user" ] || [ "$user" = "$(id -un)" ]; then "$@"; else sudo -n -u "$user" -- "$@"; fi
}

has() { command -v "$1" >/dev/null 2>&1; }

refuse() {
    echo "$1" >&2
    exit 1
}

run shutdown -h +1
