"""Holds and cancels by somebody at the device."""

from __future__ import annotations

import pytest

from tests.agent.fake_service import FakeService
from tests.agent.harness import Device, document
from thingjobs_agent.events import CancelAsked, Hold, HoldChanged
from thingjobs_agent.machine.state import Limits, State
from thingjobs_protocol.status import JobExecutionStatus as Status

REASON = "held at the device until 2026-01-01T12:00:00Z: new power supply"
CANCEL = CancelAsked("J1", 1, "canceled at the device: it smokes")


def held(seconds: int = 3600) -> Device:
    made = Device(FakeService(), hold=Hold(seconds * 1000, REASON))
    made.service.queue("J1", document("a.sh"))
    return made.boot().connect()


def test_new_job_waits_and_operators_see_why() -> None:
    """Issue 6: "not now" is reported."""
    made = held()
    assert made.agent.state is State.HELD
    assert made.service.of("J1").status is Status.IN_PROGRESS
    assert (made.service.of("J1").details or {}) == {"hold": REASON, "step": "1/1 a"}
    assert made.started == []


def test_job_begins_when_the_hold_is_over() -> None:
    """Without anybody doing anything."""
    made = held().wait(3599)
    assert made.started == []
    made.wait(1)
    assert len(made.started) == 1


def test_job_begins_when_the_hold_is_lifted() -> None:
    """At once."""
    made = held().give(HoldChanged(None))
    assert len(made.started) == 1


def test_longer_hold_is_reported_anew() -> None:
    """The engineer is not done yet."""
    made = held(10).give(HoldChanged(Hold(7_200_000, "still not"))).wait(600)
    assert made.started == []
    assert (made.service.of("J1").details or {})["hold"] == "still not"


def test_hold_lasts_over_a_restart_of_the_agent() -> None:
    """The job is in hand and nothing was done: it is asked for, and waits on."""
    made = held().boot().connect()
    assert (made.agent.state, made.started) == (State.HELD, [])
    made.hold = None
    made.boot().connect()
    assert len(made.started) == 1


def test_job_that_runs_goes_on() -> None:
    """A hold is for new jobs."""
    made = Device(FakeService())
    made.service.queue("J1", document("a.sh", "b.sh"))
    made.boot().connect().give(HoldChanged(Hold(3_600_000, REASON))).exit(0)
    assert len(made.started) == 2
    made.service.queue("J2", document("a.sh"))
    made.exit(0)
    assert made.agent.state is State.HELD
    assert made.service.of("J1").status is Status.SUCCEEDED


def test_held_job_that_is_ended_is_dropped() -> None:
    """Operators may give up waiting."""
    made = held()
    made.hear(made.service.end("J1"))
    assert made.agent.state is State.IDLE
    made.wait(3600)
    assert made.started == []


def test_held_job_is_canceled_at_the_device() -> None:
    """Reported as failed, with the reason; nothing ran."""
    made = held().give(CANCEL)
    assert (made.service.of("J1").status, made.started) == (Status.FAILED, [])
    assert (made.service.of("J1").details or {}) == {"reason": CANCEL.reason}


def test_heartbeat_shows_that_a_held_job_is_not_forgotten() -> None:
    """Now and then, the same words."""
    made = held()
    before = made.service.of("J1").version
    made.wait(900)
    assert made.service.of("J1").version == before + 3


def test_running_job_is_stopped_at_the_device() -> None:
    """B7: SIGTERM, grace, SIGKILL, and a report that says who did it."""
    made = Device(FakeService(), limits=Limits(grace_ms=3000))
    made.service.queue("J1", document("a.sh"))
    made.boot().connect().give(CANCEL)
    assert made.stopping is not None
    assert made.stopping.grace_ms == 3000
    made.exit(0)
    assert made.service.of("J1").status is Status.FAILED
    assert (made.service.of("J1").details or {})["reason"] == f"step 1/1 a was stopped: {CANCEL.reason}"


@pytest.mark.parametrize("on_restart", ["restart", "fail"])
def test_interrupted_job_is_canceled_before_it_runs_again(on_restart: str) -> None:
    """Asked for while the agent was down."""
    made = Device(FakeService())
    made.service.queue("J1", document("a.sh", onRestart=on_restart))
    made.boot().connect()
    made.boot().give(CANCEL).connect()
    assert made.service.of("J1").status is Status.FAILED
    assert len(made.started) == 1


def test_cancel_of_another_execution_is_too_late() -> None:
    """What was asked for before the job changed must not end the next one."""
    made = Device(FakeService())
    made.service.queue("J2", document("a.sh"))
    made.boot().connect().give(CANCEL)
    assert made.agent.state is State.RUNNING
