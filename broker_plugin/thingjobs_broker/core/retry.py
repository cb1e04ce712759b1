"""Which failed execution earns another one (spec: data plane 7, control plane 5.2). A decision only; it
changes nothing.
"""

from __future__ import annotations

from typing import Final

from thingjobs_broker.core.job_records import ACTIVE
from thingjobs_broker.core.state import Execution, Job
from thingjobs_protocol.status import JobExecutionStatus as Status

RETRYABLE: Final = frozenset({Status.FAILED, Status.TIMED_OUT})
ALL: Final = "ALL"


def is_owed(job: Job, execution: Execution) -> bool:
    """Tell whether the execution, which has just ended, is followed by another.

    Each failure type has its own budget per thing; ALL is one shared budget. The attempts already made are
    the earlier executions of the chain, so no counter is stored.
    """
    if execution.status not in RETRYABLE or job.status not in ACTIVE or job.ended:
        return False
    config = job.options.get("jobExecutionsRetryConfig")
    if not config:
        return False
    for criterion in config["criteriaList"]:
        failure_type = criterion["failureType"]
        if failure_type in (ALL, execution.status):
            counted = RETRYABLE if failure_type == ALL else {execution.status}
            return _failures(job, execution, counted) <= int(criterion["numberOfRetries"])
    return False


def _failures(job: Job, execution: Execution, counted: frozenset[Status] | set[Status]) -> int:
    """Count the failures of this chain of retries, the newest included.

    What lies before the chain belongs to an earlier membership. An attempt whose record was deleted still
    counts.
    """
    first_number = execution.execution_number - execution.retry_attempt
    statuses = dict.fromkeys(range(first_number, execution.execution_number + 1), Status.FAILED)
    for number in job.deleted_time_outs.get(execution.thing_name, ()):
        if number in statuses:
            statuses[number] = Status.TIMED_OUT
    attempt: Execution | None = execution
    while attempt is not None and attempt.execution_number >= first_number:
        statuses[attempt.execution_number] = attempt.status
        attempt = attempt.previous
    return sum(status in counted for status in statuses.values())
