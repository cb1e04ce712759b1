"""The steps of a job, one after the other: start, progress, end, and the reasons to stop one early."""

from __future__ import annotations

from typing import Final

from thingjobs_agent import VERSION
from thingjobs_agent import report as reports
from thingjobs_agent.events import (
    Accepted,
    CancelAsked,
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
from thingjobs_agent.machine.rebooting import ask_for_reboot, ask_for_restart
from thingjobs_agent.machine.reporting import drop, finish, is_over, is_still_ours, verify, why_gone
from thingjobs_agent.machine.state import Machine, State, StopReason
from thingjobs_agent.machine.telling import offer_progress, send_progress
from thingjobs_agent.work import Identity, Phase, Report

AGENT: Final = f"thingjobs-agent {VERSION}"


def start_step(machine: Machine, now_ms: int) -> None:
    """Store the intent, then start the handler of the current step."""
    work = machine.in_hand()
    step = work.step
    if step.type == "reboot":
        ask_for_reboot(machine, now_ms)
        return
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
    # Who wonders what a device can do finds out from its first word (B22).
    offer_progress(machine, {} if work.step_index else {"agent": AGENT}, now_ms)


def step_exited(machine: Machine, given: StepExited, now_ms: int) -> None:
    """Go on to the next step, or to the report."""
    work = machine.in_hand()
    work.outputs.add(given)
    is_strict = machine.limits.is_std_err_strict
    reason = reports.failure(work.step, work.label, given, is_std_err_strict=is_strict)
    if reason is not None and not work.step.ignore_step_failure:
        finish(machine, _failed(machine, reason), now_ms)
    elif reason is not None:
        work.ignored.append(reason)
        next_step(machine, now_ms)
    elif given.then == "reboot":
        ask_for_reboot(machine, now_ms)
    elif given.then == "restart":
        ask_for_restart(machine)
    else:
        next_step(machine, now_ms)


def reboot_failed(machine: Machine, given: StepExited, now_ms: int) -> None:
    """Take the step as failed when the reboot could not be begun; that it could be is no proof of it."""
    if given.refusal is not None:
        step_exited(machine, given, now_ms)


def next_step(machine: Machine, now_ms: int) -> None:
    """Leave the current step behind; after the last one, be finished."""
    work = machine.in_hand()
    work.reboots = 0
    if work.step_index + 1 < len(work.document.steps):
        work.step_index += 1
        start_step(machine, now_ms)
    else:
        finish(machine, reports.succeeded(work.document, work.ignored, work.outputs), now_ms)


def step_progressed(machine: Machine, given: StepProgressed, now_ms: int) -> None:
    """Pass a handler's details on."""
    offer_progress(machine, given.details, now_ms)


def progress_refused(machine: Machine, given: Rejected, now_ms: int) -> None:
    """Stop the handler if the refusal says that the job is over; a lost progress report is no harm."""
    if is_over(given):
        stop_gone(machine, given, now_ms)
        return
    code = given.response.code
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


def stop_canceled_here(machine: Machine, given: CancelAsked, _now_ms: int) -> None:
    """Stop a handler because somebody at the device says so."""
    if not _is_meant(machine, given):
        return
    sentence = f"step {machine.in_hand().label} was stopped: {given.reason}"
    _stop_step(machine, StopReason.CANCELED_HERE, sentence)


def cancel_here(machine: Machine, given: CancelAsked, now_ms: int) -> None:
    """End a job that nothing runs for, because somebody at the device says so."""
    if _is_meant(machine, given):
        finish(machine, reports.failed(given.reason, outputs=machine.in_hand().outputs), now_ms)


def _is_meant(machine: Machine, given: CancelAsked) -> bool:
    """Tell whether a cancel that took its time is about the job in hand."""
    return machine.work is not None and machine.work.identity[:2] == (given.job_id, given.execution_number)


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
    if machine.stop_reason in (StopReason.OVERDUE, StopReason.CANCELED_HERE):
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
