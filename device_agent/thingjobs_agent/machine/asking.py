"""Asking for work, and stopping for good."""

from __future__ import annotations

from thingjobs_agent.events import NextChanged, Stop
from thingjobs_agent.machine.state import Machine, State
from thingjobs_protocol.messages import StartNextPendingJobExecutionRequest
from thingjobs_protocol.topics import Api


def ask(machine: Machine, _given: object, now_ms: int) -> None:
    """Ask for the next job, or rest until there is a connection, or end if that was asked for."""
    machine.must_ask_again = False
    if machine.is_shutting_down:
        stop_now(machine, None, now_ms)
    elif not machine.is_connected:
        machine.become(State.IDLE)
    else:
        machine.become(State.ASKING)
        machine.ask(Api.START_NEXT_PENDING_JOB_EXECUTION, "", StartNextPendingJobExecutionRequest(), now_ms)


def ask_for_next(machine: Machine, given: NextChanged, now_ms: int) -> None:
    """Ask when a notification announces a job."""
    if given.message.execution is not None:
        ask(machine, None, now_ms)


def remember_to_ask(machine: Machine, given: NextChanged, now_ms: int) -> None:
    """Note a job that is announced while an answer is awaited.

    Replies and notifications come in any order (spec: data plane 1.5), so an empty reply may be the older of
    the two.
    """
    if given.message.execution is not None:
        machine.must_ask_again = True
        machine.commands += machine.requests.hurry(Api.START_NEXT_PENDING_JOB_EXECUTION, now_ms)


def rest(machine: Machine, _given: object, now_ms: int) -> None:
    """Wait for a connection or a notification; not for ever, as one is lost when the service goes down before
    it has left (architecture, promise 10).
    """
    machine.become(State.IDLE)
    # Spread out, so that a fleet that was started together does not ask together.
    machine.ask_due_ms = now_ms + int(machine.limits.ask_ms * (1 - machine.jitter() / 2))


def stop_now(machine: Machine, _given: object, _now_ms: int) -> None:
    """End. What is in hand is on disk, or will be handed out again by start-next."""
    machine.requests.drop()
    machine.become(State.STOPPED)
    machine.commands.append(Stop())
