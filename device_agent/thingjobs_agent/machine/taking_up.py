"""Taking a job up: from start-next, from the checkpoint after a crash, or without a checkpoint that should be
there.

No job runs twice unless its document says it may (`onRestart`), and then a bounded number of times.
"""

from __future__ import annotations

from thingjobs_agent import report as reports
from thingjobs_agent.document import parse
from thingjobs_agent.events import Accepted, HandlersChecked, Rejected
from thingjobs_agent.machine.asking import ask, rest
from thingjobs_agent.machine.holding import prepare, prepare_unless_held
from thingjobs_agent.machine.rebooting import ask_for_reboot
from thingjobs_agent.machine.reporting import (
    drop,
    finish,
    is_still_ours,
    keep_report,
    send_report,
    why_gone,
)
from thingjobs_agent.machine.running import next_step, start_step
from thingjobs_agent.machine.state import Machine, State, Work, document_in, execution_in
from thingjobs_agent.members import DocumentError
from thingjobs_agent.work import Checkpoint, Identity, Phase
from thingjobs_protocol.messages import JobExecution
from thingjobs_protocol.status import JobExecutionStatus


def handed(machine: Machine, given: Accepted, now_ms: int) -> None:
    """Take up what start-next hands out."""
    execution = execution_in(given)
    if execution is None:
        (ask if machine.must_ask_again else rest)(machine, None, now_ms)
        return
    if machine.done is not None and machine.done.identity == Identity.of(execution):
        _report_again(machine, machine.done, now_ms)
        return
    machine.repeats = 0
    work = _take(machine, execution, now_ms)
    machine.note("info", "job_taken_up", "Took up a job")
    try:
        work.parsed = parse(work.job_document)
    except DocumentError as error:
        finish(machine, reports.rejected(f"invalid job document: {error}"), now_ms)
        return
    facts = machine.limits.facts
    reason = None if facts is None else work.document.unmet(facts)
    if reason is not None:
        finish(machine, reports.rejected(reason), now_ms)
    else:
        prepare_unless_held(machine, now_ms)


def _take(machine: Machine, execution: JobExecution, now_ms: int) -> Work:
    machine.work = Work(Identity.of(execution), document_in(execution))
    machine.is_verified = True
    machine.set_execution_deadline(execution, now_ms)
    return machine.work


def _report_again(machine: Machine, done: Checkpoint, now_ms: int) -> None:
    """Answer once more for a job that is over and is handed out again, ever more slowly; do not run it."""
    machine.repeats += 1
    machine.work = Work(done.identity, done.job_document, step_index=done.step_index, report=done.report)
    machine.is_verified = True
    machine.note(
        "warning", "job_handed_again", "A finished job is handed out again; its result is sent once more"
    )
    machine.become(State.REPORTING)
    send_report(machine, now_ms, failures=machine.repeats)


def checked(machine: Machine, given: HandlersChecked, now_ms: int) -> None:
    """Begin with the first step, or refuse the job while nothing has been done yet."""
    work = machine.in_hand()
    for index, reason in given.refusals:
        # A step whose failure is ignored may fail this way too (spec: control plane 8.3); done ones do not
        # matter.
        if index >= work.step_index and not work.document.steps[index].ignore_step_failure:
            refusal = f"step {reports.step_label(work.document, index)}: {reason}"
            is_fresh = work.restarts == work.step_index == 0
            report = reports.rejected(refusal) if is_fresh else reports.failed(refusal, outputs=work.outputs)
            finish(machine, report, now_ms)
            return
    if work.is_step_done:
        work.is_step_done = False
        next_step(machine, now_ms)
    else:
        start_step(machine, now_ms)


def described_preparing(machine: Machine, given: Accepted, now_ms: int) -> None:
    """Drop a job that was ended before it was begun."""
    if not is_still_ours(machine, given, now_ms):
        drop(machine, f"the service ended the job: {why_gone(given)}", now_ms)


# -- after a crash


def resume(machine: Machine, checkpoint: Checkpoint | None, now_ms: int) -> None:
    """Take up what an earlier life left behind; `machine.is_checkpoint_lost` says that it cannot be read."""
    if machine.is_checkpoint_lost:
        machine.become(State.RECONCILING)
    elif checkpoint is not None and checkpoint.phase is Phase.DONE:
        machine.done = checkpoint
    elif checkpoint is not None:
        machine.work = Work.of(checkpoint)
        if checkpoint.phase is Phase.REPORTING:
            machine.become(State.REPORTING)
        else:
            _take_up_interrupted(machine, machine.work, checkpoint, now_ms)


def _take_up_interrupted(machine: Machine, work: Work, checkpoint: Checkpoint, now_ms: int) -> None:
    """Decide what becomes of a job whose handler may have been running when the agent went down, or for
    which it went down.
    """
    interrupted = "interrupted by restart"
    try:
        work.parsed = parse(work.job_document)
    except DocumentError as error:
        keep_report(machine, reports.failed(f"{interrupted}; invalid job document: {error}"))
        return
    if work.step_index >= len(work.document.steps):
        keep_report(machine, reports.failed(f"{interrupted}; the document has no step {work.step_index + 1}"))
        return
    if checkpoint.phase is Phase.HELD:
        work.is_held = True
        machine.become(State.RECONCILING)
        return
    if checkpoint.phase is not Phase.RUNNING:
        _come_back(machine, work, checkpoint, now_ms)
        return
    if work.document.on_restart != "fail" and work.restarts < machine.limits.restarts_max:
        machine.become(State.RECONCILING)
        return
    times = f", after {work.restarts} restarts" if work.restarts else ""
    reason = f"{interrupted} during step {work.label}{times}"
    include_std_out = work.document.include_std_out
    keep_report(
        machine,
        reports.failed(reason, label=work.label, outputs=work.outputs, include_std_out=include_std_out),
    )
    machine.note("warning", "job_interrupted", "A job was interrupted and will be reported as failed")


def _come_back(machine: Machine, work: Work, checkpoint: Checkpoint, now_ms: int) -> None:
    """Go on after a reboot or a restart that the job itself asked for. Without a link, too: the work in hand
    goes on, and the service is asked at the next connect.
    """
    if checkpoint.phase is Phase.RESTARTING or checkpoint.boot_id != machine.boot_id:
        machine.note("info", "came_back", "Back after a restart for a job", step=work.label)
        work.is_step_done = True
        prepare(machine)
    else:
        machine.note("warning", "not_rebooted", "The device has not rebooted yet", step=work.label)
        ask_for_reboot(machine, now_ms)


def described_reconciling(machine: Machine, given: Accepted, now_ms: int) -> None:
    """Run an interrupted job again, if the service still wants it."""
    work = machine.work
    if work is None:
        _described_lost(machine, given, now_ms)
    elif not is_still_ours(machine, given, now_ms):
        drop(machine, f"the service ended the job: {why_gone(given)}", now_ms)
    elif work.is_held:
        prepare_unless_held(machine, now_ms)
    else:
        _run_again(machine, work)


def refused_reconciling(machine: Machine, given: Rejected, now_ms: int) -> None:
    """Drop the interrupted job, or, without a checkpoint, forget that there was one."""
    if machine.work is None:
        machine.is_checkpoint_lost = False
        ask(machine, None, now_ms)
    else:
        drop(machine, f"the service ended the job: {why_gone(given)}", now_ms)


def _run_again(machine: Machine, work: Work) -> None:
    work.restarts += 1
    if work.document.on_restart == "restart":
        work.step_index = 0
    machine.note("warning", "job_restarted", "Running an interrupted job again", restarts=work.restarts)
    prepare(machine)


def _described_lost(machine: Machine, given: Accepted, now_ms: int) -> None:
    """Decide about the job of a checkpoint that cannot be read: it is what the service has in progress."""
    machine.is_checkpoint_lost = False
    execution = execution_in(given)
    if execution is None or execution.status is not JobExecutionStatus.IN_PROGRESS:
        ask(machine, None, now_ms)
        return
    work = _take(machine, execution, now_ms)
    try:
        work.parsed = parse(work.job_document)
    except DocumentError as error:
        finish(machine, reports.rejected(f"invalid job document: {error}"), now_ms)
        return
    if work.document.on_restart == "restart":
        _run_again(machine, work)
    else:
        # How far it got is not known, so it can be neither resumed nor run again.
        finish(machine, reports.failed("interrupted by restart; the checkpoint could not be read"), now_ms)
