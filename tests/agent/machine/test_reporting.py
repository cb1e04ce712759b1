"""Reports: kept and sent until the service answers; permanent and temporary refusals told apart (data plane
3.5).
"""

from __future__ import annotations

import pytest

from tests.agent.fake_service import FakeService
from tests.agent.harness import Device, document
from thingjobs_agent.machine.state import State
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.topics import Api


def finished(*refusals: str) -> Device:
    """A device whose handler is about to end, with the service's next answers given."""
    made = Device(FakeService())
    made.service.queue("J1", document("a.sh"))
    made.boot().connect()
    made.take_log()
    made.service.refusals = list(refusals)
    return made


def report_times(made: Device, seconds: int) -> list[float]:
    """When, in seconds from now, reports are sent."""
    began, times = made.now_ms, []
    for _ in range(seconds * 2):
        made.take_log()
        made.wait(0.5)
        if "send UpdateJobExecution SUCCEEDED" in made.take_log():
            times.append((made.now_ms - began) / 1000)
    return times


def test_silence_is_answered_with_doubling_waits() -> None:
    """Data plane 3.5: 10 s for the answer, then 10 s doubling to 640 s."""
    made = finished()
    made.is_link_deaf = True
    made.exit(0)
    times = report_times(made, 3000)
    waits = [round(after - before) for before, after in zip([0.0, *times], times, strict=False)]
    assert waits == [20, 30, 50, 90, 170, 330, 650, 650, 650]


def test_jitter_takes_away_up_to_half_of_a_wait() -> None:
    """A fleet that lost its service at one moment must not come back at one moment."""
    made = finished()
    made.is_link_deaf, made.jitter = True, lambda: 0.999
    made.agent._machine.requests._jitter = made.jitter
    made.exit(0)
    assert report_times(made, 30) == [15.5]


@pytest.mark.parametrize("code", ["RequestThrottled", "InternalError"])
def test_temporary_refusal_is_tried_again(code: str) -> None:
    """Data plane 3.5: only these two are temporary."""
    made = finished(code, code).exit(0)
    assert made.agent.state is State.REPORTING
    made.wait(9)
    assert made.service.of("J1").status is Status.IN_PROGRESS
    made.wait(30)
    assert made.service.of("J1").status is Status.SUCCEEDED


def test_earlier_copy_that_got_through_counts_as_success() -> None:
    """Data plane 3.5: InvalidStateTransition with the reported status."""
    made = finished()
    made.service.of("J1").set(Status.SUCCEEDED, {"reason": "first copy"})
    made.exit(0)
    assert [note.action for note in made.commands if hasattr(note, "action")][-1] == "job_reported"
    assert made.agent.state is State.IDLE


def test_other_terminal_state_drops_the_job() -> None:
    """Data plane 3.5: the service's word stands."""
    made = finished()
    made.service.of("J1").set(Status.TIMED_OUT)
    made.exit(0)
    assert made.service.of("J1").status is Status.TIMED_OUT
    assert made.agent.state is State.IDLE


def test_deleted_job_is_dropped() -> None:
    """ResourceNotFound is permanent."""
    made = finished()
    made.service.executions.clear()
    made.exit(0)
    assert made.agent.state is State.IDLE


def test_report_refused_for_its_details_is_sent_without_them() -> None:
    """A result without details is better than none."""
    made = finished("InvalidRequest").exit(0)
    assert made.service.of("J1").status is Status.SUCCEEDED
    assert made.service.of("J1").history[-1] == (Status.SUCCEEDED, None)


def test_report_refused_for_good_does_not_spin() -> None:
    """A service that refuses the report and hands the job out again is answered ever more slowly."""
    made = finished(*["InvalidRequest"] * 2)
    made.exit(0)
    assert made.agent.state is State.REPORTING
    refused = len(made.service.requests)
    made.wait(9)
    assert len(made.service.requests) == refused
    made.wait(2)
    assert made.service.of("J1").status is Status.SUCCEEDED
    assert len(made.started) == 1


def test_report_made_offline_waits_for_the_connection() -> None:
    """Nothing is sent without a connection, and no time runs out."""
    made = finished().disconnect().exit(0).wait(1_000_000)
    assert "send UpdateJobExecution SUCCEEDED" not in made.take_log()
    made.connect()
    assert made.service.of("J1").status is Status.SUCCEEDED


def test_report_is_sent_once_when_the_answer_comes() -> None:
    """Exactly one report of a result that is answered."""
    made = finished().exit(0).wait(10_000)
    updates = [request for api, request in made.service.requests if api is Api.UPDATE_JOB_EXECUTION]
    assert [update.status for update in updates] == [Status.IN_PROGRESS, Status.SUCCEEDED]


def test_updates_name_their_execution() -> None:
    """Data plane 2.6: without the number an update would hit the newest execution."""
    made = finished().exit(0)
    updates = [request for api, request in made.service.requests if api is Api.UPDATE_JOB_EXECUTION]
    assert {update.execution_number for update in updates} == {1}


def test_shutdown_with_a_report_in_hand_keeps_it() -> None:
    """Promise: a terminal report is kept until answered."""
    made = finished()
    made.is_link_deaf = True
    made.exit(0).shut_down()
    assert made.has_stopped
    made.is_link_deaf = False
    made.boot().connect()
    assert made.service.of("J1").status is Status.SUCCEEDED


def test_gone_without_a_state_is_gone() -> None:
    """Data plane 3.5: a job that was deleted is not reported a second time, without its details."""
    made = finished("ResourceNotFound").exit(0)
    assert made.take_log().count("send UpdateJobExecution SUCCEEDED") == 1


def test_result_waits_for_the_describe_after_a_connect() -> None:
    """Data plane 1.5: what is known about the service is known for one connection only."""
    made = finished()
    made.disconnect()
    made.is_link_deaf = True
    made.connect()
    made.exit(0)
    assert "send UpdateJobExecution SUCCEEDED" not in made.take_log()
