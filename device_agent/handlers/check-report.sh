#!/bin/sh
# Fails unless a report is there and whole.
# Arguments: USER REPORT
set -eu
shift
report=${1:?the report file is missing}

[ -s "$report" ] || { echo "there is no report $report" >&2; exit 1; }
for name in host system kernel machine; do
    grep -q "^$name  *[^ ]" "$report" || { echo "the report lacks $name" >&2; exit 1; }
done

lines=$(($(wc -l <"$report")))
[ -z "${THINGJOBS_PROGRESS_FILE:-}" ] || echo "lines=$lines" >>"$THINGJOBS_PROGRESS_FILE"
echo "the report has $lines lines"
