"""Running steps: progress, time limits, cancels, shutdown."""

from __future__ import annotations

import pytest

from tests.agent.fake_service import FakeService
from tests.agent.harness import Device, document, step
from thingjobs_agent.events import StepExited, StepProgressed
from thingjobs_agent.machine.running import AGENT
from thingjobs_agent.machine.state import Limits, State
from thingjobs_protocol.status import JobExecutionStatus as Status


def running(*handlers: str, **members: object) -> Device:
    made = Device(FakeService())
    made.service.queue("J1", document(*handlers or ("a.sh",), **members))
    made.boot().connect()
    made.take_log()
    return made


def details(made: Device) -> dict[str, str]:
    return made.service.of("J1").details or {}


def in_progress(made: Device) -> list[dict[str, str] | None]:
    """All details after the start, without the agent's name, which only the first ones have."""
    given = [given for status, given in made.service.of("J1").history if status is Status.IN_PROGRESS][1:]
    return [{key: value for key, value in (each or {}).items() if key != "agent"} for each in given]


def test_first_details_say_which_agent_runs_the_job() -> None:
    """B22: operators see what a device can do."""
    made = running("a.sh", "b.sh")
    assert details(made) == {"agent": AGENT, "step": "1/2 a"}
    assert "agent" not in details(made.exit(0))


def test_step_is_named_in_progress_reports() -> None:
    """Operators see which step runs."""
    made = running("a.sh", "b.sh").exit(0)
    assert in_progress(made) == [{"step": "1/2 a"}, {"step": "2/2 b"}]


def test_progress_of_the_handler_is_passed_on_with_the_step() -> None:
    """The handler's details come beside the agent's own."""
    made = running().give(StepProgressed({"percent": "50"}))
    assert in_progress(made)[-1] == {"percent": "50", "step": "1/1 a"}


def test_one_progress_report_is_in_flight_and_the_newest_waits() -> None:
    """Older details are dropped, not queued."""
    made = Device(FakeService())
    made.service.queue("J1", document("a.sh"))
    made.boot().connect()
    made.is_link_deaf = True
    for percent in ("10", "20", "30"):
        made.give(StepProgressed({"percent": percent}))
    made.is_link_deaf = False
    made.wait(10)
    assert in_progress(made) == [{"step": "1/1 a"}, {"percent": "30", "step": "1/1 a"}]


def test_newest_progress_is_sent_again_after_a_reconnect() -> None:
    """What was in flight at a disconnect may be lost."""
    made = running()
    made.is_link_deaf = True
    made.give(StepProgressed({"percent": "10"})).disconnect()
    made.is_link_deaf = False
    made.connect()
    assert in_progress(made)[-1] == {"percent": "10", "step": "1/1 a"}


def test_failed_step_ends_the_job_and_is_named() -> None:
    """Control plane 8.3: stop at the first failing step; the final step is skipped (A39)."""
    made = running("a.sh", "b.sh", "c.sh", finalStep=step("last.sh"), includeStdOut=True).exit(
        0, std_out="one"
    )
    made.exit(4, std_out="two", std_err="oh no")
    assert made.service.of("J1").status is Status.FAILED
    assert details(made) == {
        "reason": "step 2/4 b exited with status 4",
        "step": "2/4 b",
        "stdout": "one two",
        "stderr": "oh no",
    }
    assert len(made.started) == 2


def test_final_step_runs_after_all_good_steps_and_can_fail_the_job() -> None:
    """Control plane 8.1: its own failure fails the job."""
    made = running("a.sh", finalStep=step("last.sh")).exit(0).exit(1)
    assert details(made)["reason"] == "step 2/2 last exited with status 1"


def test_ignored_failure_goes_on_and_is_mentioned() -> None:
    """Control plane 8.3: ignoreStepFailure discards the result."""
    made = Device(FakeService())
    made.service.queue(
        "J1", {"version": "1.0", "steps": [step("a.sh", ignoreStepFailure=True), step("b.sh")]}
    )
    made.boot().connect().exit(9).exit(0)
    assert made.service.of("J1").status is Status.SUCCEEDED
    assert details(made)["reason"] == "1 of 2 steps succeeded; ignored: step 1/2 a exited with status 9"


def test_death_by_signal_is_a_failure() -> None:
    """A37: the Device Client says SUCCEEDED; we do not."""
    made = running()
    made.running = None
    made.give(StepExited(signal_number=9))
    assert details(made)["reason"] == "step 1/1 a was killed by signal 9 (SIGKILL)"


def test_output_is_reported_only_where_asked_for() -> None:
    """A36: includeStdOut is false if not given; stderr is always reported."""
    made = running().exit(0, std_out="secret", std_err="hm")
    assert details(made) == {"reason": "1 step succeeded", "stderr": "hm"}


def test_step_that_runs_too_long_is_stopped_and_failed() -> None:
    """B7, issue 6: a deadline for each step, then ten seconds of grace; what is said then does not count."""
    made = Device(FakeService())
    made.service.queue("J1", {"version": "1.0", "steps": [step("a.sh", timeoutSeconds=60)]})
    made.boot().connect().wait(59.9)
    assert made.stopping is None
    made.wait(0.2)
    assert made.stopping is not None
    assert made.stopping.grace_ms == 10_000
    made.exit(0)
    assert made.service.of("J1").status is Status.FAILED
    assert details(made)["reason"] == "step 1/1 a ran longer than its time limit and was stopped"


def test_default_time_limit_holds_where_the_document_says_nothing() -> None:
    """No state without a way out."""
    made = Device(FakeService(), limits=Limits(step_timeout_ms=5000))
    made.service.queue("J1", document("a.sh"))
    made.boot().connect().wait(5)
    assert made.stopping is not None


def test_step_ends_at_the_time_limit_of_the_job() -> None:
    """Data plane 6.4: approximateSecondsBeforeTimedOut bounds every step."""
    made = Device(FakeService())
    made.service.queue("J1", document("a.sh"), seconds_left=30)
    made.boot().connect()
    assert made.running is not None
    assert made.running.timeout_ms == 30_000
    made.wait(30)
    assert made.stopping is not None
    assert "at the job's time limit" in made.stopping.reason


def test_step_is_not_begun_after_the_time_limit_of_the_job() -> None:
    """A step without time is not started."""
    made = Device(FakeService())
    made.service.queue("J1", document("a.sh"), seconds_left=0)
    made.boot().connect()
    assert made.started == []
    assert details(made)["reason"] == "the job's time limit passed before step 1/1 a"


@pytest.mark.parametrize("status", [Status.CANCELED, Status.TIMED_OUT])
def test_job_ended_by_the_service_stops_the_handler(status: Status) -> None:
    """Issue 6: a forced cancel or a time-out seen on the wire stops the handler, after a look at the
    service.
    """
    made = running().hear([])
    made.hear(made.service.end("J1", status))
    assert made.take_log() == ["send DescribeJobExecution", "stop handler"]
    made.exit(0)
    assert made.service.of("J1").status is status
    assert made.agent.state is State.IDLE
    assert made.take_log() == ["store done J1 step 0", "send StartNextPendingJobExecution"]


def test_deleted_job_stops_the_handler() -> None:
    """Data plane 4.2: a deleted execution is ResourceNotFound."""
    made = running()
    made.service.executions.clear()
    made.hear(made.service.notifications())
    assert made.stopping is not None


def test_described_terminal_state_stops_the_handler_too() -> None:
    """Data plane A7: a service may answer a describe of a terminal execution instead of refusing it."""
    made = running()
    made.service.describes_terminal = True
    made.hear(made.service.end("J1", Status.TIMED_OUT))
    assert made.stopping is not None
    assert made.stopping.reason == "the service ended the job while it ran: TIMED_OUT"


def test_cancel_missed_while_offline_is_seen_after_the_reconnect() -> None:
    """Data plane 1.5: notifications are lost while offline, so the job is described after each connect."""
    made = running().disconnect()
    made.service.end("J1")
    assert made.stopping is None
    made.connect()
    assert made.stopping is not None


def test_refused_progress_that_shows_the_end_stops_the_handler() -> None:
    """Data plane 3.2: InvalidStateTransition with a terminal state."""
    made = running()
    made.service.end("J1")
    made.give(StepProgressed({"percent": "1"}))
    assert made.stopping is not None
    assert made.stopping.reason == "the service ended the job while it ran: CANCELED"


def test_refused_progress_alone_is_no_harm() -> None:
    """A progress report is worth no failed job."""
    made = running()
    made.service.refusals = ["InvalidRequest", "RequestThrottled"]
    made.give(StepProgressed({"percent": "1"})).give(StepProgressed({"percent": "2"}))
    made.give(StepProgressed({"percent": "3"}))
    assert in_progress(made)[-1] == {"percent": "3", "step": "1/1 a"}
    assert made.stopping is None


def test_notification_about_others_does_not_stop_the_handler() -> None:
    """A job queued behind ours leaves it in the list; another one at the front is looked into."""
    made = running()
    made.hear(made.service.queue("J2", document("b.sh")))
    assert made.take_log() == []


def test_job_goes_on_while_offline_and_reports_later() -> None:
    """Issue 6: work in hand goes on, results wait."""
    made = running("a.sh", "b.sh").disconnect().exit(0).exit(0).wait(86_400)
    assert made.service.of("J1").status is Status.IN_PROGRESS
    made.connect()
    assert made.service.of("J1").status is Status.SUCCEEDED


def test_weeks_offline_lose_nothing_and_pile_nothing_up() -> None:
    """Issue 6: the job goes on, its result waits, nothing is due, and what is stored stays small."""
    week = 7 * 86_400
    service = FakeService()
    service.queue("J1", document("a", "b", "c"))
    device = Device(service, Limits(step_timeout_ms=4 * week * 1000)).boot().connect()
    device.disconnect().take_log()
    for _ in range(3):
        for _ in range(100):
            device.give(StepProgressed({"percent": "1"}))
        device.wait(week).exit()
    assert [label for _, _, label in device.started] == ["1/3 a", "2/3 b", "3/3 c"]
    assert device.disk is not None
    assert len(device.disk) < 2000
    for _ in range(5):
        device.wait(week)
        assert device.agent.next_deadline_ms() is None, "nobody is woken for nothing"
        device.boot()
    assert not any(line.startswith("send") for line in device.take_log())
    device.connect()
    assert service.of("J1").status is Status.SUCCEEDED
    assert len(device.started) == 3


def test_shutdown_stops_the_handler_and_keeps_the_checkpoint() -> None:
    """SIGTERM: the restart rule applies at the next start, as after a crash."""
    made = running()
    before = made.disk
    made.shut_down()
    assert made.stopping is not None
    assert not made.has_stopped
    made.exit(0)
    assert made.has_stopped
    assert made.disk == before
    made.boot().connect()
    assert details(made)["reason"] == "interrupted by restart during step 1/1 a"


def test_shutdown_while_an_overdue_handler_is_stopping_keeps_the_result() -> None:
    """What is known by then is stored and sent after the next start."""
    made = running().wait(3600).shut_down().exit(0)
    assert made.has_stopped
    made.boot().connect()
    assert details(made)["reason"] == "step 1/1 a ran longer than its time limit and was stopped"
