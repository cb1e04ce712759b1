"""The agent as a machine: inputs and the time go in, commands come out. Does no I/O and reads no clock.

Theory of operation. There is at most one job in hand. It is asked for (ASKING), its handlers are looked at
(PREPARING), unless somebody at the device said "not now" (HELD); its steps run one after the other (RUNNING,
STOPPING when one must end early, REBOOTING when one takes the device down), and its result is sent until the
service has answered (REPORTING). RECONCILING is the way back after a crash: before anything
runs again, the service is asked whether it still wants it. `TABLE` holds every (state, input) that means
something; all others change nothing.

Two rules carry the rest. What may happen is stored before it happens: a checkpoint goes to disk before each
step and before the report. And what is known about the service is known for one connection only: after each
connect the job in hand is described before it is reported (spec: data plane 1.5, 4.4).

The duties of a driver: call `start` once, then `handle` for each input, and `fire_timers` when
`next_deadline_ms` has come; carry out the commands in order; never let `now_ms` go backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from thingjobs_agent.events import (
    Accepted,
    Command,
    Connected,
    Disconnected,
    Hold,
    HoldChanged,
    Input,
    Rejected,
    ShutDown,
)
from thingjobs_agent.machine import asking, holding, rebooting, reporting, running, taking_up, telling
from thingjobs_agent.machine.state import BEATING, Limits, Machine, State
from thingjobs_agent.work import Checkpoint
from thingjobs_protocol.status import TERMINAL
from thingjobs_protocol.topics import Api

_FINAL_CODES: Final[dict[Api, frozenset[str] | None]] = {
    # Asked again whatever the answer: the thing may be registered tomorrow.
    Api.START_NEXT_PENDING_JOB_EXECUTION: frozenset(),
    Api.DESCRIBE_JOB_EXECUTION: reporting.GONE,
    # All but the temporary ones (spec: data plane 3.5).
    Api.UPDATE_JOB_EXECUTION: None,
}

START_NEXT_ACCEPTED: Final = "start-next/accepted"
DESCRIBE_ACCEPTED: Final = "get/accepted"
DESCRIBE_REJECTED: Final = "get/rejected"
UPDATE_ACCEPTED: Final = "update/accepted"
UPDATE_REJECTED: Final = "update/rejected"
STEP_OVERDUE: Final = "StepOverdue"
HOLD_OVER: Final = "HoldOver"
ASK_DUE: Final = "AskDue"

TABLE: Final[dict[tuple[State, str], Callable[[Machine, Any, int], None]]] = {
    # Nothing to do, or no connection.
    (State.IDLE, "Connected"): asking.ask,
    (State.IDLE, "NextChanged"): asking.ask_for_next,
    (State.IDLE, ASK_DUE): asking.ask,
    (State.IDLE, "ShutDown"): asking.stop_now,
    # start-next is on its way, now or again later.
    (State.ASKING, "Connected"): asking.ask,
    (State.ASKING, "Disconnected"): asking.rest,
    (State.ASKING, "NextChanged"): asking.remember_to_ask,
    (State.ASKING, START_NEXT_ACCEPTED): taking_up.handed,
    (State.ASKING, "ShutDown"): asking.stop_now,
    # A job is in hand, and somebody at the device wants it to wait.
    (State.HELD, "HoldChanged"): holding.hold_changed,
    (State.HELD, HOLD_OVER): holding.hold_over,
    (State.HELD, "Connected"): reporting.verify,
    (State.HELD, "NextChanged"): running.verify_unless_next,
    (State.HELD, "PendingChanged"): running.verify_unless_listed,
    (State.HELD, DESCRIBE_ACCEPTED): holding.described_held,
    (State.HELD, DESCRIBE_REJECTED): reporting.dropped,
    (State.HELD, UPDATE_ACCEPTED): telling.send_progress,
    (State.HELD, UPDATE_REJECTED): holding.held_refused,
    (State.HELD, "CancelAsked"): running.cancel_here,
    (State.HELD, "ShutDown"): asking.stop_now,
    # A job is in hand and nothing has been done yet.
    (State.PREPARING, "HandlersChecked"): taking_up.checked,
    (State.PREPARING, "Connected"): reporting.verify,
    (State.PREPARING, "NextChanged"): running.verify_unless_next,
    (State.PREPARING, "PendingChanged"): running.verify_unless_listed,
    (State.PREPARING, DESCRIBE_ACCEPTED): taking_up.described_preparing,
    (State.PREPARING, DESCRIBE_REJECTED): reporting.dropped,
    (State.PREPARING, "CancelAsked"): running.cancel_here,
    (State.PREPARING, "ShutDown"): asking.stop_now,
    # A handler runs.
    (State.RUNNING, "StepExited"): running.step_exited,
    (State.RUNNING, "StepProgressed"): running.step_progressed,
    (State.RUNNING, STEP_OVERDUE): running.stop_overdue,
    (State.RUNNING, "Connected"): reporting.verify,
    (State.RUNNING, "NextChanged"): running.verify_unless_next,
    (State.RUNNING, "PendingChanged"): running.verify_unless_listed,
    (State.RUNNING, DESCRIBE_ACCEPTED): running.described_running,
    (State.RUNNING, DESCRIBE_REJECTED): running.stop_gone,
    (State.RUNNING, UPDATE_ACCEPTED): telling.send_progress,
    (State.RUNNING, UPDATE_REJECTED): running.progress_refused,
    (State.RUNNING, "CancelAsked"): running.stop_canceled_here,
    (State.RUNNING, "ShutDown"): running.stop_for_shutdown,
    # A handler has been told to end; its end is all that counts.
    (State.STOPPING, "StepExited"): running.stopped,
    # The device is going down; only that it cannot, or does not, is of interest.
    (State.REBOOTING, "StepExited"): running.reboot_failed,
    (State.REBOOTING, STEP_OVERDUE): rebooting.not_down_in_time,
    (State.REBOOTING, "ShutDown"): asking.stop_now,
    # An interrupted job may run again, once the service has said that it still wants it.
    (State.RECONCILING, "Connected"): reporting.verify,
    (State.RECONCILING, DESCRIBE_ACCEPTED): taking_up.described_reconciling,
    (State.RECONCILING, DESCRIBE_REJECTED): taking_up.refused_reconciling,
    (State.RECONCILING, "CancelAsked"): running.cancel_here,
    (State.RECONCILING, "ShutDown"): asking.stop_now,
    # The result is known and stored.
    (State.REPORTING, "Connected"): reporting.verify,
    (State.REPORTING, DESCRIBE_ACCEPTED): reporting.described_reporting,
    (State.REPORTING, DESCRIBE_REJECTED): reporting.dropped,
    (State.REPORTING, UPDATE_ACCEPTED): reporting.answered,
    (State.REPORTING, UPDATE_REJECTED): reporting.report_refused,
    (State.REPORTING, "ShutDown"): asking.stop_now,
}

_ANSWERS: Final = {
    (Api.START_NEXT_PENDING_JOB_EXECUTION, Accepted): START_NEXT_ACCEPTED,
    (Api.DESCRIBE_JOB_EXECUTION, Accepted): DESCRIBE_ACCEPTED,
    (Api.DESCRIBE_JOB_EXECUTION, Rejected): DESCRIBE_REJECTED,
    (Api.UPDATE_JOB_EXECUTION, Accepted): UPDATE_ACCEPTED,
    (Api.UPDATE_JOB_EXECUTION, Rejected): UPDATE_REJECTED,
}


class Agent:
    """One thing's agent; the only door to the machine."""

    def __init__(
        self,
        *,
        limits: Limits,
        token_prefix: str,
        jitter: Callable[[], float],
        checkpoint: Checkpoint | None = None,
        is_checkpoint_lost: bool = False,
        boot_id: str = "",
    ) -> None:
        """Prepare to take up where the stored checkpoint says.

        Args:
            limits: The settings that bear on decisions.
            token_prefix: Begins all client tokens; differs from that of any earlier life.
            jitter: A source of numbers in [0, 1).
            checkpoint: What was stored last, if anything.
            is_checkpoint_lost: There was one, and it cannot be read.
            boot_id: The kernel's name for the time since the device came up.

        """
        self._machine = Machine(limits, token_prefix, jitter, boot_id)
        self._machine.is_checkpoint_lost = is_checkpoint_lost
        self._checkpoint = checkpoint

    @property
    def state(self) -> State:
        """What the agent is doing."""
        return self._machine.state

    def start(self, now_ms: int, hold: Hold | None = None) -> list[Command]:
        """Take up what an earlier life left behind. Called once, before anything else."""
        self._machine.set_hold(hold, now_ms)
        taking_up.resume(self._machine, self._checkpoint, now_ms)
        return self._taken()

    def handle(self, given: Input, now_ms: int) -> list[Command]:
        """Return what to do about an input."""
        machine = self._machine
        if isinstance(given, Accepted | Rejected):
            self._handle_answer(given, now_ms)
            return self._taken()
        if isinstance(given, Connected):
            machine.is_connected = True
        elif isinstance(given, Disconnected):
            machine.is_connected = machine.is_verified = False
            machine.requests.drop()
            # What was in flight may be lost; the newest details are sent again after the next connect.
            machine.is_progress_waiting = machine.progress is not None
        elif isinstance(given, HoldChanged):
            machine.set_hold(given.hold, now_ms)
        elif isinstance(given, ShutDown):
            machine.is_shutting_down = True
        self._act(type(given).__name__, given, now_ms)
        return self._taken()

    def fire_timers(self, now_ms: int) -> list[Command]:
        """Return what has become due."""
        machine = self._machine
        machine.commands += machine.requests.fire(now_ms)
        if machine.step_deadline_ms is not None and machine.step_deadline_ms <= now_ms:
            self._act(STEP_OVERDUE, None, now_ms)
        if machine.hold_deadline_ms is not None and machine.hold_deadline_ms <= now_ms:
            self._act(HOLD_OVER, None, now_ms)
        if machine.is_connected and machine.ask_due_ms is not None and machine.ask_due_ms <= now_ms:
            self._act(ASK_DUE, None, now_ms)
        if machine.state in BEATING:
            if machine.heartbeat_due_ms is not None and machine.heartbeat_due_ms <= now_ms:
                telling.beat(machine, now_ms)
            # A progress report whose answer was missed makes room for the next one.
            telling.send_progress(machine, None, now_ms)
        return self._taken()

    def next_deadline_ms(self) -> int | None:
        """Return when to call `fire_timers`; None: not before something else happens."""
        machine = self._machine
        deadlines = [machine.requests.next_deadline_ms(), machine.step_deadline_ms]
        if machine.state is State.HELD:
            deadlines.append(machine.hold_deadline_ms)
        if machine.is_verified:
            deadlines.append(machine.heartbeat_due_ms)
        if machine.is_connected:
            deadlines.append(machine.ask_due_ms)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _handle_answer(self, answer: Accepted | Rejected, now_ms: int) -> None:
        machine = self._machine
        if machine.requests.settle(answer, now_ms, final=_FINAL_CODES[answer.api]):
            self._act(_ANSWERS[answer.api, type(answer)], answer, now_ms)
        elif isinstance(answer, Rejected) and answer.api in machine.requests:
            machine.note(
                "warning",
                "request_refused",
                "The service refused a request, which will be sent again",
                api=answer.api.value,
                code=answer.response.code,
                reason=answer.response.message,
            )
        elif machine.state in BEATING and _shows_end(answer, machine.in_hand().identity.job_id):
            reporting.verify(machine, None, now_ms)

    def _act(self, name: str, given: object, now_ms: int) -> None:
        rule = TABLE.get((self._machine.state, name))
        if rule is not None:
            rule(self._machine, given, now_ms)

    def _taken(self) -> list[Command]:
        commands, self._machine.commands = self._machine.commands, []
        return commands


def _shows_end(answer: Accepted | Rejected, job_id: str) -> bool:
    """Tell whether an answer to somebody else's request shows that our job is over."""
    state = getattr(answer.response, "execution_state", None)
    return answer.job_id == job_id and state is not None and state.status in TERMINAL
