"""Reboots: of the device, as a step or at a handler's wish, and of the agent, at a handler's wish alone.

What is to come after is stored first. That the device went down is proven by the kernel's `boot_id`, never by
a clock; an agent that comes back without a new one asks again, a bounded number of times (the boot-loop
breaker).
"""

from __future__ import annotations

from thingjobs_agent import report as reports
from thingjobs_agent.events import Reboot, Stop, StoreCheckpoint
from thingjobs_agent.machine.reporting import finish
from thingjobs_agent.machine.state import Machine, State
from thingjobs_agent.machine.telling import offer_progress
from thingjobs_agent.work import Phase


def ask_for_reboot(machine: Machine, now_ms: int) -> None:
    """Store that the device goes down here, say so, and let it go down."""
    work = machine.in_hand()
    work.reboots += 1
    if work.reboots > machine.limits.reboots_max:
        times = machine.limits.reboots_max
        reason = f"step {work.label} asked {times} times for a reboot, and the device did not reboot"
        finish(machine, reports.failed(reason, label=work.label, outputs=work.outputs), now_ms)
        return
    wait_ms = machine.limits.reboot_wait_ms
    if work.step.type == "reboot" and work.step.timeout_seconds is not None:
        wait_ms = work.step.timeout_seconds * 1000
    machine.become(State.REBOOTING)
    machine.step_deadline_ms = now_ms + wait_ms
    machine.note("warning", "rebooting", "Rebooting the device for a job", step=work.label)
    machine.commands.append(StoreCheckpoint(work.checkpoint(Phase.REBOOTING, boot_id=machine.boot_id)))
    offer_progress(machine, {"waitsFor": "reboot"}, now_ms)
    machine.commands.append(Reboot(work.step))


def ask_for_restart(machine: Machine) -> None:
    """Store that the agent ends here, and begin anew."""
    work = machine.in_hand()
    machine.note("warning", "restarting", "Restarting the agent for a job", step=work.label)
    machine.commands.append(StoreCheckpoint(work.checkpoint(Phase.RESTARTING)))
    machine.requests.drop()
    machine.become(State.STOPPED)
    machine.commands.append(Stop(is_restart=True))


def not_down_in_time(machine: Machine, _given: object, now_ms: int) -> None:
    """Give up on a device that was told to go down and is still here."""
    work = machine.in_hand()
    reason = f"step {work.label} waited for a reboot, and the device did not go down in time"
    finish(machine, reports.failed(reason, label=work.label, outputs=work.outputs), now_ms)
