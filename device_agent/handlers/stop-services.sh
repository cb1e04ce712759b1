#!/bin/sh
# Stops services with systemctl or service; where there is neither, there is nothing to stop.
# Arguments: USER SERVICE...
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

[ $# -gt 0 ] || refuse "no services are named"
for name in "$@"; do
    case $name in -* | "" | */*) refuse "$name is not the name of a service" ;; esac
done

if has systemctl; then
    run systemctl stop "$@"
elif has service; then
    for name in "$@"; do run service "$name" stop; done
else
    echo "there is neither systemctl nor service; nothing was done"
fi
