"""What the service is told while a job is in hand: details, the step timer, a sign of life now and then.

One update is in flight, the newest details wait, older ones are dropped. The step timer of the service (spec:
data plane 6.2) is set from the time limits that the document itself gives to its steps, and renewed by every
update; without any in the document it is left alone, because a link that is down must not cost the job.
"""

from __future__ import annotations

from typing import Final

from thingjobs_agent.machine.state import BEATING, Machine, State
from thingjobs_protocol.limits import STEP_TIMEOUT_CANCEL, TIMEOUT_MINUTES_MAX
from thingjobs_protocol.messages import UpdateJobExecutionRequest
from thingjobs_protocol.status import JobExecutionStatus
from thingjobs_protocol.topics import Api

MINUTE_MS: Final = 60_000


def offer_progress(machine: Machine, details: dict[str, str], now_ms: int) -> None:
    """Take new details, to be sent as soon as possible."""
    machine.progress = {**details, "step": machine.in_hand().label}
    machine.is_progress_waiting = True
    send_progress(machine, None, now_ms)


def send_progress(machine: Machine, _given: object, now_ms: int) -> None:
    """Send the newest details, if some wait and the update before them is answered."""
    if machine.progress is None or not machine.is_progress_waiting or not machine.is_verified:
        return
    if Api.UPDATE_JOB_EXECUTION in machine.requests:
        return
    job_id, execution_number, _ = machine.in_hand().identity
    message = UpdateJobExecutionRequest(
        status=JobExecutionStatus.IN_PROGRESS,
        status_details=machine.progress,
        execution_number=execution_number,
        step_timeout_in_minutes=_step_timer_minutes(machine, now_ms),
    )
    machine.is_progress_waiting = False
    if machine.state in BEATING:
        machine.heartbeat_due_ms = now_ms + machine.limits.heartbeat_ms
    machine.ask(Api.UPDATE_JOB_EXECUTION, job_id, message, now_ms, is_repeated=False)


def beat(machine: Machine, now_ms: int) -> None:
    """Say the newest details once more: the service, and who looks at it, see that we live."""
    machine.heartbeat_due_ms = now_ms + machine.limits.heartbeat_ms
    machine.is_progress_waiting = True
    send_progress(machine, None, now_ms)


def _step_timer_minutes(machine: Machine, now_ms: int) -> int | None:
    """Return what to set the step timer to: a minute after we would have stopped the step ourselves."""
    steps = machine.in_hand().document.steps
    if machine.state is State.HELD or all(step.timeout_seconds is None for step in steps):
        return None
    if machine.in_hand().step.timeout_seconds is None or machine.step_deadline_ms is None:
        return STEP_TIMEOUT_CANCEL
    left_ms = max(machine.step_deadline_ms - now_ms, 0) + machine.limits.grace_ms
    return min(-(-left_ms // MINUTE_MS) + 1, TIMEOUT_MINUTES_MAX)
