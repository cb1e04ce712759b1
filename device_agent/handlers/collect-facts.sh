#!/bin/sh
# Writes facts about this system, one "name: value" a line.
# Arguments: USER [FILE]; FILE is facts.txt in the job's working directory if not given.
set -eu
shift
facts=${1:-facts.txt}

fact() {
    printf '%s: %s\n' "$1" "$2" >>"$facts"
}

os_name() {
    # shellcheck disable=SC1091  # not there on every system
    (. /etc/os-release && printf '%s' "$PRETTY_NAME") 2>/dev/null || uname -s
}

: >"$facts"
fact thing "${THINGJOBS_THING_NAME:-unknown}"
fact host "$(uname -n)"
fact system "$(os_name)"
fact kernel "$(uname -sr)"
fact machine "$(uname -m)"
fact processors "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo unknown)"
fact memory_kib "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo 2>/dev/null || echo unknown)"
fact disk_free_kib "$(df -Pk . | awk 'NR == 2 { print $4 }')"
fact uptime_seconds "$(cut -d. -f1 /proc/uptime 2>/dev/null || echo unknown)"

count=$(($(wc -l <"$facts")))
[ -z "${THINGJOBS_PROGRESS_FILE:-}" ] || echo "facts=$count" >>"$THINGJOBS_PROGRESS_FILE"
echo "collected $count facts"
