"""Holds by somebody at the device: "not now".

A new job is taken up, so that operators see that it waits, for how long and why, and is begun when the hold
ends. Work that has begun goes on.
"""

from __future__ import annotations

from thingjobs_agent.events import Accepted, CheckHandlers, HoldChanged, Rejected, StoreCheckpoint
from thingjobs_agent.machine.reporting import drop, dropped, is_over, is_still_ours, why_gone
from thingjobs_agent.machine.state import Machine, State
from thingjobs_agent.machine.telling import offer_progress, send_progress
from thingjobs_agent.work import Phase


def prepare(machine: Machine) -> None:
    """Look at the handlers of the job in hand, and then begin."""
    machine.become(State.PREPARING)
    machine.in_hand().is_held = False
    machine.commands.append(CheckHandlers(machine.in_hand().document))


def prepare_unless_held(machine: Machine, now_ms: int) -> None:
    """Begin, or keep the job for later and say so."""
    if machine.hold_deadline_ms is None or machine.hold_deadline_ms <= now_ms:
        prepare(machine)
        return
    machine.become(State.HELD)
    machine.in_hand().is_held = True
    machine.commands.append(StoreCheckpoint(machine.in_hand().checkpoint(Phase.HELD)))
    machine.note("info", "job_held", "A job waits for the end of the hold", reason=machine.hold_reason)
    offer_progress(machine, {"hold": machine.hold_reason}, now_ms)


def hold_changed(machine: Machine, given: HoldChanged, now_ms: int) -> None:
    """Begin, or go on waiting with the new reason."""
    machine.set_hold(given.hold, now_ms)
    if machine.state is State.HELD:
        prepare_unless_held(machine, now_ms)


def hold_over(machine: Machine, _given: object, now_ms: int) -> None:
    """Begin what has waited."""
    machine.set_hold(None, now_ms)
    if machine.state is State.HELD:
        prepare(machine)


def described_held(machine: Machine, given: Accepted, now_ms: int) -> None:
    """Go on waiting, if the service still wants the job."""
    if is_still_ours(machine, given, now_ms):
        send_progress(machine, None, now_ms)
    else:
        drop(machine, f"the service ended the job: {why_gone(given)}", now_ms)


def held_refused(machine: Machine, given: Rejected, now_ms: int) -> None:
    """Drop the job if the refusal says that it is over; a lost word about a hold is no harm."""
    if is_over(given):
        dropped(machine, given, now_ms)
    else:
        send_progress(machine, None, now_ms)
