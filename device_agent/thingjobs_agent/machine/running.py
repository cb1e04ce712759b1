"""The steps of a job, one after the other: start, progress, end, and the three reasons to stop one early."""

from __future__ import annotations

from thingjobs_agent import report as reports
from thingjobs_agent.events import (
    Accepted,
    NextChanged,
    PendingChanged,
    Rejected,
    StartStep,
    StepExited,
    StepProgressed,
    StopStep,
    StoreCheckpoint,
)
from thingjobs_agent.machine.asking import stop_now
from thingjobs_agent.machine.reporting import GONE, drop, finish, is_still_ours, verify, why_gone
from thingjobs_agent.machine.state import Machine, State, StopReason
from thingjobs_agent.work import Identity, Phase, Report
from thingjobs_protocol.messages import UpdateJobExecutionRequest
from thingjobs_protocol.status import TERMINAL, JobExecutionStatus
from thingjobs_protocol.topics import Api


def start_step(machine: Machine, now_ms: int) -> None:
    """Store the intent, then start the handler of the current step."""
    work = machine.in_hand()
    step = work.document.steps[work.step_index]
    timeout_ms = machine.limits.step_timeout_ms
    if step.timeout_seconds is not None:
        timeout_ms = step.timeout_seconds * 1000
    if machine.execution_deadline_ms is not None:
        timeout_ms = min(timeout_ms, machine.execution_deadline_ms - now_ms)
    if timeout_ms <= 0:
        finish(machine, _failed(machine, f"the job's time limit passed before step {work.label}"), now_ms)
        return
    machine.become(State.RUNNING)
    machine.step_deadline_ms = now_ms + timeout_ms
    machine.commands.append(StoreCheckpoint(work.checkpoint(Phase.RUNNING)))
    machine.commands.append(StartStep(work.identity, step, work.label, timeout_ms))
    _offer_progress(machine, {}, now_ms)


def step_exited(machine: Machine, given: StepExited, now_ms: int) -> None:
    """Go on to the next step, or to the report."""
    work = machine.in_hand()
    step = work.document.steps[work.step_index]
    work.outputs.add(given)
    reason = reports.failure(step, work.label, given)
    if reason is not None and not step.ignore_step_failure:
        finish(machine, _failed(machine, reason), now_ms)
        return
    if reason is not None:
        work.ignored.append(reason)
    if work.step_index + 1 < len(work.document.steps):
        work.step_index += 1
        start_step(machine, now_ms)
    else:
        finish(machine, reports.succeeded(work.document, work.ignored, work.outputs), now_ms)


# -- progress: one update in flight, the newest waits, older ones are dropped


def step_progressed(machine: Machine, given: StepProgressed, now_ms: int) -> None:
    """Pass a handler's details on."""
    _offer_progress(machine, given.details, now_ms)


def _offer_progress(machine: Machine, details: dict[str, str], now_ms: int) -> None:
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
    )
    machine.is_progress_waiting = False
    machine.ask(Api.UPDATE_JOB_EXECUTION, job_id, message, now_ms, is_repeated=False)


def progress_refused(machine: Machine, given: Rejected, now_ms: int) -> None:
    """Stop the handler if the refusal says that the job is over; a lost progress report is no harm."""
    state, code = given.response.execution_state, given.response.code
    if (state is not None and state.status in TERMINAL) or code in GONE:
        stop_gone(machine, given, now_ms)
        return
    machine.note("warning", "progress_refused", "The service refused a progress report", code=code)
    send_progress(machine, None, now_ms)


# -- stopping a handler


def stop_overdue(machine: Machine, _given: object, now_ms: int) -> None:
    """Stop a handler that ran into its own limit or the job's."""
    deadline_ms = machine.execution_deadline_ms
    is_job_late = deadline_ms is not None and deadline_ms <= now_ms
    limit = "was still running at the job's time limit" if is_job_late else "ran longer than its time limit"
    _stop_step(machine, StopReason.OVERDUE, f"step {machine.in_hand().label} {limit} and was stopped")


def stop_gone(machine: Machine, given: Accepted | Rejected, _now_ms: int) -> None:
    """Stop a handler whose job the service has ended: canceled by force, timed out, deleted."""
    _stop_step(machine, StopReason.GONE, f"the service ended the job while it ran: {why_gone(given)}")


def stop_for_shutdown(machine: Machine, _given: object, _now_ms: int) -> None:
    """Stop a handler because the agent itself has to stop."""
    _stop_step(machine, StopReason.SHUTDOWN, "the agent was asked to stop")


def _stop_step(machine: Machine, reason: StopReason, sentence: str) -> None:
    machine.stop_reason, machine.stop_sentence = reason, sentence
    machine.progress = None
    machine.become(State.STOPPING)
    machine.note("warning", "step_stopped", "Stopping the handler", reason=sentence)
    machine.commands.append(StopStep(sentence, machine.limits.grace_ms))


def stopped(machine: Machine, given: StepExited, now_ms: int) -> None:
    """Do what the stop was for. After a stop no exit status makes a step good."""
    machine.in_hand().outputs.add(given)
    if machine.stop_reason is StopReason.OVERDUE:
        finish(machine, _failed(machine, machine.stop_sentence), now_ms)
    elif machine.stop_reason is StopReason.GONE:
        drop(machine, machine.stop_sentence, now_ms)
    else:
        # The checkpoint stays: at the next start `onRestart` decides, as after a crash.
        stop_now(machine, None, now_ms)


def _failed(machine: Machine, reason: str) -> Report:
    work = machine.in_hand()
    return reports.failed(
        reason, label=work.label, outputs=work.outputs, include_std_out=work.document.include_std_out
    )


# -- what the service says meanwhile


def verify_unless_next(machine: Machine, given: NextChanged, now_ms: int) -> None:
    """Look twice when the next job is not the one in hand: that one may have been canceled."""
    execution = given.message.execution
    if execution is None or Identity.of(execution) != machine.in_hand().identity:
        verify(machine, None, now_ms)


def verify_unless_listed(machine: Machine, given: PendingChanged, now_ms: int) -> None:
    """Look twice when the pending jobs do not hold the one in hand."""
    identity = machine.in_hand().identity
    if not any(Identity.of(summary) == identity for jobs in given.message.jobs.values() for summary in jobs):
        verify(machine, None, now_ms)


def described_running(machine: Machine, given: Accepted, now_ms: int) -> None:
    """Go on, or stop, by what the service says about the job in hand."""
    if is_still_ours(machine, given, now_ms):
        send_progress(machine, None, now_ms)
    else:
        stop_gone(machine, given, now_ms)
