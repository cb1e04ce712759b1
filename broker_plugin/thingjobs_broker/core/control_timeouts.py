"""Our own operations on timeouts, which AWS does not know (spec: control plane 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.core import execution, groups, timeout_policy, timeouts
from thingjobs_broker.core.errors import (
    InvalidRequestError,
    InvalidStateTransitionError,
)
from thingjobs_broker.core.lookups import find_execution
from thingjobs_broker.core.records import GroupTimeoutsChanged

if TYPE_CHECKING:
    from thingjobs_broker.core import operations
    from thingjobs_broker.core.entities import Execution
    from thingjobs_broker.core.step import Step


def update_job_execution_timeout(
    step: Step, request: operations.UpdateJobExecutionTimeout, by: str
) -> dict[str, Any]:
    """Set, extend or reduce the timeout of the running execution of a job on a thing (B9 to B16)."""
    _, current = find_execution(step, request.thing_name, request.job_id, None)
    decided = timeouts.changed(
        request.timeout_in_minutes,
        status=current.status,
        started_at_ms=current.started_at_ms,
        initial_minutes=current.timeout_minutes_at_start or _minutes_left_by_older_versions(current),
        current_minutes=current.timeout_minutes or _minutes_left_by_older_versions(current),
        maxima=timeout_policy.maxima_of(step, step.state.jobs[current.job_id]),
    )
    if isinstance(decided, timeouts.Refused):
        kind = InvalidStateTransitionError if decided.refusal.is_state_error else InvalidRequestError
        raise kind(decided.message)
    step.apply(execution.timeout_changed(current, decided, step.now_ms, by=by))
    return {"timeoutInMinutes": decided.minutes} | (
        {"previousTimeoutInMinutes": decided.previous_minutes} if decided.previous_minutes else {}
    )


def update_thing_group_timeouts(
    step: Step, request: operations.UpdateThingGroupTimeouts, by: str
) -> dict[str, Any]:
    """Set the default and the maximum of jobs that target a group; absent is none (B3 to B5)."""
    groups.find(step.state, request.thing_group_name)
    default, maximum = request.default_timeout_in_minutes, request.maximum_timeout_in_minutes
    step.apply(GroupTimeoutsChanged(request.thing_group_name, step.now_ms, by, default or 0, maximum or 0))
    return {}


def describe_thing_group_timeouts(
    step: Step, request: operations.DescribeThingGroupTimeouts, _by: str
) -> dict[str, Any]:
    """Show the default and the maximum of a group."""
    groups.find(step.state, request.thing_group_name)
    default, maximum = step.state.group_timeouts.get(request.thing_group_name, (0, 0))
    shown = {"defaultTimeoutInMinutes": default, "maximumTimeoutInMinutes": maximum}
    return {"thingGroupName": request.thing_group_name} | {
        name: minutes for name, minutes in shown.items() if minutes
    }


def _minutes_left_by_older_versions(current: Execution) -> int | None:
    """Return the timeout of an execution that started before its minutes were kept, None without one."""
    if current.timeout_minutes or not current.in_progress_deadline_ms:
        return None
    return (current.in_progress_deadline_ms - current.started_at_ms) // timeouts.MINUTE_MS
