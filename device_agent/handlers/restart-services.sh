#!/bin/sh
# Restarts services with systemctl or service. The agent itself restarts after this step, and the job goes on.
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

restart() {
    if has systemctl; then
        run systemctl restart "$1"
    elif has service; then
        run service "$1" restart
    else
        refuse "there is neither systemctl nor service"
    fi
}

for name in "$@"; do
    case $name in
        thingjobs-agent | thingjobs-agent.service)
            # Restarted from here, the agent would end this very handler.
            [ -n "${THINGJOBS_THEN_FILE:-}" ] || refuse "$name can only be restarted from its own job"
            echo restart >"$THINGJOBS_THEN_FILE"
            ;;
        *) restart "$name" ;;
    esac
done
