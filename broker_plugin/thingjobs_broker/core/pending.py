"""The pending executions of one thing, of one namespace or of none: their order, the front, what lists show.

Order (spec: data plane 4.5): all IN_PROGRESS before all QUEUED, within each by queue position.
`Queue.pending` is kept in queue order because a new execution always goes to its end.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from thingjobs_broker.core.entities import Execution, Queue
from thingjobs_protocol.status import JobExecutionStatus as Status

Identity = tuple[str, int]
"""(job id, execution number): what `notify-next` compares (spec: data plane 5.2)."""


def front(queue: Queue, hidden: Collection[str] = ()) -> Execution | None:
    """Return the execution that `$next` stands for, or None. QUEUED ones of `hidden` jobs do not count (spec:
    control plane 6.3, "Closed").
    """
    if queue.in_progress_count:
        running = (current for current in queue.pending.values() if current.status is Status.IN_PROGRESS)
        return next(running)
    if not hidden:
        return next(iter(queue.pending.values()), None)
    return next((current for current in queue.pending.values() if current.job_id not in hidden), None)


def front_identity(queue: Queue, hidden: Collection[str] = ()) -> Identity | None:
    """Return what identifies the front, or None."""
    return identity(front(queue, hidden))


def identity(execution: Execution | None) -> Identity | None:
    """Return what identifies an execution, None for none."""
    return (execution.job_id, execution.execution_number) if execution else None


def in_progress(queue: Queue) -> list[Execution]:
    """Return the running executions, the earliest queued first."""
    if not queue.in_progress_count:
        return []
    running = (execution for execution in queue.pending.values() if execution.status is Status.IN_PROGRESS)
    return list(islice(running, queue.in_progress_count))


def visible(queue: Queue, hidden: Collection[str]) -> list[Identity]:
    """Return what identifies the pending executions that the device may see."""
    return [
        (current.job_id, current.execution_number)
        for current in queue.pending.values()
        if current.status is Status.IN_PROGRESS or current.job_id not in hidden
    ]


def shown(
    queue: Queue, count_max: int, hidden: Collection[str] = ()
) -> tuple[list[Execution], list[Execution]]:
    """Return the first `count_max` pending executions, as (IN_PROGRESS, QUEUED) (spec: data plane 9, A4)."""
    running = in_progress(queue)[:count_max]
    queued = (
        execution
        for execution in queue.pending.values()
        if execution.status is Status.QUEUED and execution.job_id not in hidden
    )
    return running, list(islice(queued, count_max - len(running)))
