#!/bin/sh
# Downloads a file with wget.
# Arguments: USER URL FILE-OR-DIRECTORY
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

[ $# -eq 2 ] || refuse "usage: USER URL FILE-OR-DIRECTORY"
has wget || refuse "wget is not installed"

if [ -d "$2" ]; then
    run wget -q -P "$2" -- "$1"
else
    # Aside and then in place, so that nobody takes half a file for the whole.
    run wget -q -O "$2.part" -- "$1" || { run rm -f -- "$2.part"; refuse "$1 could not be downloaded"; }
    run mv -f -- "$2.part" "$2"
fi
