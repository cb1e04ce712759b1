#!/bin/sh
# Reboots the device when this step is done; the job goes on with its next step, once the reboot is proven.
# Arguments: USER
set -eu

[ -n "${THINGJOBS_THEN_FILE:-}" ] || { echo "only thingjobs-agent can reboot for a job" >&2; exit 1; }
echo reboot >"$THINGJOBS_THEN_FILE"
