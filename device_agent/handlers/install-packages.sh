#!/bin/sh
# Installs packages with apt-get or yum.
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

if has apt-get; then
    # Another run of apt-get, such as an unattended upgrade, is waited for.
    run env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install "$@"
elif has yum; then
    run yum -y install "$@"
else
    refuse "there is neither apt-get nor yum"
fi
