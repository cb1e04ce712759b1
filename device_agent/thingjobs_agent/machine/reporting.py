"""The result and the question before it: does the service still want it? Kept and sent until the service
answers.

Spec: data plane 3.5 (what is permanent), 2.5 (describe of a terminal execution), 4.4 (identity).
"""

from __future__ import annotations

from typing import Final

from thingjobs_agent import report as reports
from thingjobs_agent.events import Accepted, FinishWork, Rejected, StoreCheckpoint
from thingjobs_agent.machine.asking import ask, stop_now
from thingjobs_agent.machine.state import Machine, State, execution_in
from thingjobs_agent.work import Identity, Phase, Report
from thingjobs_protocol.errors import RejectedErrorCode
from thingjobs_protocol.messages import DescribeJobExecutionRequest, UpdateJobExecutionRequest
from thingjobs_protocol.status import PENDING, TERMINAL, JobExecutionStatus
from thingjobs_protocol.topics import NEXT_JOB_ID, Api

GONE: Final = frozenset({RejectedErrorCode.RESOURCE_NOT_FOUND, RejectedErrorCode.TERMINAL_STATE_REACHED})
"""The refusals that end the job in hand."""


# -- is the job in hand still wanted?


def verify(machine: Machine, _given: object, now_ms: int) -> None:
    """Ask the service about the job in hand, or, when the checkpoint is lost, about whatever it has in
    progress.
    """
    if machine.work is None:
        machine.ask(Api.DESCRIBE_JOB_EXECUTION, NEXT_JOB_ID, DescribeJobExecutionRequest(), now_ms)
        return
    job_id, execution_number, _ = machine.work.identity
    message = DescribeJobExecutionRequest(execution_number=execution_number, include_job_document=False)
    machine.ask(Api.DESCRIBE_JOB_EXECUTION, job_id, message, now_ms)


def is_still_ours(machine: Machine, given: Accepted, now_ms: int) -> bool:
    """Tell whether a describe's answer shows the very execution in hand, and that it is not over."""
    execution = execution_in(given)
    if execution is None or Identity.of(execution) != machine.in_hand().identity:
        return False
    if execution.status not in PENDING:
        return False
    machine.is_verified = True
    machine.set_execution_deadline(execution, now_ms)
    return True


def is_over(given: Rejected) -> bool:
    """Tell whether a refusal says that the job has come to its end."""
    state = given.response.execution_state
    return (state is not None and state.status in TERMINAL) or given.response.code in GONE


def why_gone(given: Accepted | Rejected) -> str:
    """Return what the service's answer says about a job that is over."""
    if isinstance(given, Rejected):
        state = given.response.execution_state
        return state.status.value if state is not None else given.response.code
    execution = execution_in(given)
    if execution is not None and execution.status not in PENDING:
        return execution.status.value
    return "another execution has taken its place"


# -- the result


def keep_report(machine: Machine, report: Report) -> None:
    """Store the result, which from here on is sent and never made again."""
    work = machine.in_hand()
    work.report = report
    machine.become(State.REPORTING)
    machine.commands.append(StoreCheckpoint(work.checkpoint(Phase.REPORTING)))


def finish(machine: Machine, report: Report, now_ms: int) -> None:
    """Store the result and begin to send it."""
    machine.progress = None
    keep_report(machine, report)
    machine.note(
        "info" if report.status is JobExecutionStatus.SUCCEEDED else "warning",
        "job_finished",
        "The job is finished and will be reported",
        status=report.status.value,
        reason=report.status_details.get("reason", ""),
    )
    if machine.is_shutting_down:
        stop_now(machine, None, now_ms)
    elif machine.is_verified:
        send_report(machine, now_ms)
    elif machine.is_connected:
        verify(machine, None, now_ms)


def send_report(machine: Machine, now_ms: int, *, failures: int = 0) -> None:
    """Send the result; it is sent again until answered."""
    work = machine.in_hand()
    message = UpdateJobExecutionRequest(
        status=work.result.status,
        status_details=None if work.is_report_bare else work.result.status_details or None,
        execution_number=work.identity.execution_number,
    )
    machine.ask(Api.UPDATE_JOB_EXECUTION, work.identity.job_id, message, now_ms, failures=failures)


def described_reporting(machine: Machine, given: Accepted, now_ms: int) -> None:
    """Send the result now that the service has said it is still waiting for it."""
    if is_still_ours(machine, given, now_ms):
        send_report(machine, now_ms)
    else:
        drop(machine, f"the service ended the job: {why_gone(given)}", now_ms)


def answered(machine: Machine, _given: object, now_ms: int) -> None:
    """Be done: the service has the result."""
    machine.note("info", "job_reported", "The service has the result")
    be_done(machine, "accepted by the service", now_ms)


def report_refused(machine: Machine, given: Rejected, now_ms: int) -> None:
    """Decide what a permanent refusal of the result means (3.5)."""
    work, state, code = machine.in_hand(), given.response.execution_state, given.response.code
    if state is not None and state.status is work.result.status:
        # An earlier copy got through.
        answered(machine, None, now_ms)
    elif is_over(given):
        drop(machine, f"the service ended the job: {why_gone(given)}", now_ms)
    elif not work.is_report_bare and work.result.status_details:
        # A result without details is better than none.
        machine.note("warning", "report_refused", "Sending the refused report without its details", code=code)
        work.is_report_bare = True
        send_report(machine, now_ms)
    else:
        drop(machine, f"the service refused the report: {code}", now_ms)


def dropped(machine: Machine, given: Rejected, now_ms: int) -> None:
    """Drop the job after a refusal that says it is over."""
    drop(machine, f"the service ended the job: {why_gone(given)}", now_ms)


def drop(machine: Machine, reason: str, now_ms: int) -> None:
    """Be done with a job that the service does not want any more."""
    work = machine.in_hand()
    machine.note("warning", "job_dropped", "Dropped a job", reason=reason)
    if work.report is None:
        work.report = reports.failed(reason, outputs=work.outputs)
    be_done(machine, reason, now_ms)


def be_done(machine: Machine, ending: str, now_ms: int) -> None:
    """Remember the job as done, let go of it and ask for the next."""
    work = machine.in_hand()
    machine.done = work.checkpoint(Phase.DONE)
    machine.commands.append(StoreCheckpoint(machine.done))
    if not machine.repeats:
        machine.commands.append(FinishWork(work.identity, work.result, ending))
    machine.work = machine.progress = machine.execution_deadline_ms = None
    machine.is_verified = False
    machine.requests.drop()
    ask(machine, None, now_ms)
