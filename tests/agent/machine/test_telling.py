"""The step timer and the heartbeats: the service's view of a running job stays true (data plane 6.2)."""

from __future__ import annotations

import pytest

from tests.agent.fake_service import FakeService
from tests.agent.harness import Device, reboot_step, step
from thingjobs_agent.events import StepProgressed
from thingjobs_agent.machine.state import Limits
from thingjobs_protocol.messages import UpdateJobExecutionRequest
from thingjobs_protocol.status import JobExecutionStatus as Status


def running(*steps: dict[str, object], heartbeat_ms: int = 300_000) -> Device:
    made = Device(FakeService(), limits=Limits(heartbeat_ms=heartbeat_ms))
    made.service.queue("J1", {"version": "1.0", "steps": list(steps)})
    return made.boot().connect()


def timers(made: Device) -> list[int | None]:
    """The step timers of all updates in progress."""
    return [
        request.step_timeout_in_minutes
        for _, request in made.service.requests
        if isinstance(request, UpdateJobExecutionRequest) and request.status is Status.IN_PROGRESS
    ]


def test_step_timer_is_left_alone_without_limits_in_the_document() -> None:
    """A link that is down for long must not cost a job whose document sets no limit."""
    made = running(step("a.sh"), step("b.sh")).exit(0)
    assert timers(made) == [None, None]


@pytest.mark.parametrize(("seconds", "minutes"), [(1, 2), (49, 2), (51, 3), (600, 12), (604_800, 10_080)])
def test_step_timer_leaves_time_for_the_grace_and_the_report(seconds: int, minutes: int) -> None:
    """The agent stops the step first; the service's timer is for an agent that has gone."""
    assert timers(running(step("a.sh", timeoutSeconds=seconds))) == [minutes]


def test_step_timer_is_renewed_for_each_step_and_removed_where_there_is_no_limit() -> None:
    """Data plane 6.2: an update without it lets the old one run."""
    made = running(step("a.sh", timeoutSeconds=60), step("b.sh"), step("c.sh", timeoutSeconds=3600))
    made.exit(0).exit(0)
    assert timers(made) == [3, -1, 62]


def test_progress_renews_the_step_timer_to_what_is_left() -> None:
    """Counted from now, and never longer than the step itself."""
    made = running(step("a.sh", timeoutSeconds=3600)).wait(1800)
    made.give(StepProgressed({"percent": "50"}))
    assert timers(made)[-1] == 32


def test_reboot_step_has_its_own_limit() -> None:
    """The service waits as long as the agent does."""
    assert timers(running(reboot_step(timeoutSeconds=600))) == [12]


def test_heartbeat_is_sent_when_nothing_else_is_said() -> None:
    """Who looks at a long job sees that its device lives."""
    made = running(step("a.sh"), heartbeat_ms=60_000).wait(59)
    assert len(timers(made)) == 1
    made.wait(1)
    assert len(timers(made)) == 2
    made.wait(30).give(StepProgressed({"percent": "1"})).wait(59)
    assert len(timers(made)) == 3
    assert (made.service.of("J1").details or {}) == {"percent": "1", "step": "1/1 a"}


def test_no_heartbeat_without_a_link_or_after_the_end() -> None:
    """Nothing piles up, and nobody is woken for nothing."""
    made = running(step("a.sh")).disconnect()
    assert made.agent.next_deadline_ms() == made.now_ms + 3_600_000
    made.connect().exit(0)
    assert made.agent.next_deadline_ms() == made.now_ms + made.limits.ask_ms


def test_heartbeat_goes_on_when_answers_are_missed() -> None:
    """Silence is the end of one heartbeat, not of all."""
    made = running(step("a.sh"), heartbeat_ms=60_000)
    made.is_link_deaf = True
    made.wait(100)
    made.is_link_deaf = False
    made.wait(60)
    assert len(timers(made)) == 2
