#!/bin/sh
# Fails if a package is still installed.
# Arguments: USER PACKAGE...
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

[ $# -gt 0 ] || refuse "no packages are named"
for name in "$@"; do
    # apt-get takes a leading - for an option, and a trailing one for the wish to remove.
    case $name in -* | *- | "" | *[!a-zA-Z0-9.+:~=_/-]*) refuse "$name is not the name of a package" ;; esac
done

# Settings that remain of a removed package are no package.
is_installed() {
    if has dpkg; then
        code=0
        status=$(dpkg -s "$1" 2>/dev/null) || code=$?
        # 1 is a package that is not known; anything else says nothing about it.
        case $code in 0) ;; 1) return 1 ;; *) refuse "dpkg failed with status $code" ;; esac
        case $status in *"Status: "*) ;; *) return 0 ;; esac
        echo "$status" | grep -q "^Status: .* installed\$"
    elif has rpm; then
        rpm -q "$1" >/dev/null 2>&1
    else
        refuse "there is neither dpkg nor rpm"
    fi
}

for name in "$@"; do
    if is_installed "$name"; then refuse "$name is still installed"; fi
    echo "$name is not installed"
done
