#!/bin/sh
# Writes a report from collected facts.
# Arguments: USER REPORT [FILE]; FILE is what collect-facts.sh wrote, facts.txt if not given.
set -eu
shift
report=${1:?the report file is missing}
facts=${2:-facts.txt}

[ -r "$facts" ] || { echo "there are no facts in $facts" >&2; exit 1; }

# Aside and then in place, so that nobody reads half a report.
{
    printf 'System report of %s\n' "${THINGJOBS_THING_NAME:-unknown}"
    printf 'job %s, execution %s\n\n' "${THINGJOBS_JOB_ID:-unknown}" "${THINGJOBS_EXECUTION_NUMBER:-unknown}"
    awk -F': ' '{ printf "%-16s %s\n", $1, substr($0, length($1) + 3) }' "$facts"
} >"$report.new"
mv -f "$report.new" "$report"

[ -z "${THINGJOBS_PROGRESS_FILE:-}" ] || echo "report=$report" >>"$THINGJOBS_PROGRESS_FILE"
echo "wrote $report"
