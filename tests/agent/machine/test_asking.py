"""Asking for work: after each connect, after each announcement, and never in a tight loop."""

from __future__ import annotations

from tests.agent.fake_service import FakeService
from tests.agent.harness import Device, document
from thingjobs_agent.machine.state import State

ASKED = "send StartNextPendingJobExecution"


def test_nothing_is_sent_before_the_connection() -> None:
    """A22: subscribe, then ask."""
    made = Device(FakeService()).boot().wait(1000)
    assert made.take_log() == []


def test_work_is_asked_for_after_each_connect() -> None:
    """Data plane 1.5: re-sync after every connect."""
    made = Device(FakeService()).boot().connect().disconnect().connect()
    assert made.take_log() == [ASKED, ASKED]


def test_unanswered_question_is_asked_again_later() -> None:
    """Data plane 3.5: silence is temporary."""
    made = Device(FakeService(), is_link_deaf=True).boot().connect()
    made.wait(19)
    assert made.take_log() == [ASKED]
    made.wait(2)
    assert made.take_log() == [ASKED]


def test_refused_question_is_asked_again_rarely() -> None:
    """A thing that is unknown today may be registered tomorrow."""
    made = Device(FakeService()).boot()
    made.service.refusals = ["ResourceNotFound"]
    made.connect()
    made.take_log()
    made.wait(600)
    assert made.take_log() == []
    made.wait(60)
    assert made.take_log() == [ASKED]
    assert made.agent.state is State.IDLE


def test_announcement_hurries_a_refused_question() -> None:
    """Whoever is announced a job is known by now."""
    made = Device(FakeService()).boot()
    made.service.refusals = ["ResourceNotFound"]
    made.connect().hear(made.service.queue("J1", document("a.sh")))
    assert made.running is not None


def test_job_announced_before_an_empty_answer_is_asked_for_again() -> None:
    """Data plane 1.5: the order of replies and notifications is not guaranteed."""
    made = Device(FakeService())
    made.boot()
    made.is_online = True
    made.is_reply_held = True
    made.connect()
    made.is_reply_held = False
    made.hear(made.service.queue("J1", document("a.sh"))).hear(made.held)
    assert made.running is not None


def test_empty_announcement_asks_for_nothing() -> None:
    """notify-next without an execution says that nothing is pending."""
    made = Device(FakeService()).boot().connect()
    made.take_log()
    made.hear(made.service.notifications())
    assert made.take_log() == []


def test_shutdown_while_idle_stops_at_once() -> None:
    """Nothing to wait for."""
    assert Device(FakeService()).boot().connect().shut_down().has_stopped


def test_an_idle_agent_asks_now_and_then() -> None:
    """A notification is lost when the service goes down before it has left; no wait is for ever."""
    made = Device(FakeService()).boot().connect()
    made.take_log()
    made.service.queue("J1", document("a.sh"))
    made.wait(3599)
    assert made.take_log() == []
    made.wait(2)
    assert made.running is not None


def test_agents_do_not_ask_all_at_once() -> None:
    """A fleet that was started together spreads over half the time."""
    made = Device(FakeService(), jitter=lambda: 0.5).boot().connect()
    made.take_log()
    made.wait(2 * 2700 + 1)
    assert made.take_log() == [ASKED, ASKED]


def test_nobody_asks_without_a_connection() -> None:
    """Nothing to wake up for: the next connect asks."""
    made = Device(FakeService()).boot().connect().disconnect()
    made.take_log()
    assert made.agent.next_deadline_ms() is None
    assert made.wait(10_000).take_log() == []
