"""Taking jobs up: fresh ones, interrupted ones, lost ones, and ones that are already over."""

from __future__ import annotations

import pytest

from tests.agent.fake_service import FakeService
from tests.agent.harness import Device, document, step
from thingjobs_agent.machine.state import Limits, State
from thingjobs_protocol.status import JobExecutionStatus as Status

SENT_DESCRIBE = "send DescribeJobExecution"
SENT_START_NEXT = "send StartNextPendingJobExecution"


def device(*handlers: str, **members: object) -> Device:
    made = Device(FakeService())
    made.service.queue("J1", document(*handlers, **members))
    return made


def result(made: Device, job_id: str = "J1") -> tuple[str, str]:
    execution = made.service.of(job_id)
    return execution.status.value, (execution.details or {}).get("reason", "")


def test_whole_job_as_a_transcript() -> None:
    """The order of a whole job: store before start, store before report, ask again at the end."""
    made = device("a.sh", "b.sh").boot().connect()
    made.exit(0).exit(0)
    assert made.take_log() == [
        SENT_START_NEXT,
        "store running J1 step 0",
        "start 1/2 a",
        "send UpdateJobExecution IN_PROGRESS",
        "store running J1 step 1",
        "start 2/2 b",
        "send UpdateJobExecution IN_PROGRESS",
        "store reporting J1 step 1",
        "send UpdateJobExecution SUCCEEDED",
        "store done J1 step 1",
        SENT_START_NEXT,
    ]
    assert result(made) == ("SUCCEEDED", "2 steps succeeded")
    assert made.agent.state is State.IDLE


def test_job_that_is_announced_while_idle_is_taken_up() -> None:
    """Data plane 5: notify-next announces; start-next hands out."""
    made = Device(FakeService()).boot().connect()
    assert made.agent.state is State.IDLE
    made.hear(made.service.queue("J1", document("a.sh")))
    assert made.running is not None


def test_repeated_notification_of_the_job_in_hand_is_ignored() -> None:
    """Data plane 1.5: notifications repeat."""
    made = device("a.sh").boot().connect()
    made.take_log()
    made.hear(made.service.notifications()).hear(made.service.notifications())
    assert made.take_log() == []


def test_next_job_follows_when_the_first_is_reported() -> None:
    """One job at a time, in the service's order."""
    made = device("a.sh")
    made.service.queue("J2", document("b.sh"))
    made.boot().connect().exit(0)
    assert made.running is not None
    assert made.running.identity.job_id == "J2"


def test_invalid_document_is_rejected_without_running_anything() -> None:
    """Control plane 8.3: REJECTED with a reason; nothing runs."""
    made = Device(FakeService())
    made.service.queue("J1", {"version": "1.0", "steps": []})
    made.boot().connect()
    assert made.started == []
    assert result(made) == ("REJECTED", "invalid job document: steps must hold at least one step")


def test_document_nested_beyond_the_decoder_is_rejected() -> None:
    """Issue: deep nesting must not make the reply unreadable and the job unanswered."""
    made = Device(FakeService())
    made.service.queue("J1", b'{"version":"1.0","steps":' + b"[" * 9000 + b"]" * 9000 + b"}")
    made.boot().connect()
    assert result(made) == ("REJECTED", "invalid job document: the document is nested deeper than 16 levels")


def test_refused_handler_rejects_the_job_before_its_first_step() -> None:
    """A job whose last handler is missing does not get half done."""
    made = device("a.sh", "missing.sh")
    made.refusals = ((1, "there is no handler missing.sh"),)
    made.boot().connect()
    assert made.started == []
    assert result(made) == ("REJECTED", "step 2/2 missing: there is no handler missing.sh")


def test_refused_handler_of_an_ignored_step_does_not_reject() -> None:
    """Control plane 8.3: ignoreStepFailure also covers the permission failure."""
    made = Device(FakeService(), refusals=((0, "no"),))
    made.service.queue(
        "J1", {"version": "1.0", "steps": [step("a.sh", ignoreStepFailure=True), step("b.sh")]}
    )
    made.boot().connect()
    assert made.started == [("J1", 1, "1/2 a")]


def test_crash_while_a_handler_ran_is_reported_as_failed() -> None:
    """Promise 9: no job runs twice unless its document says it may."""
    made = device("a.sh").boot().connect()
    made.boot().connect()
    assert result(made) == ("FAILED", "interrupted by restart during step 1/1 a")
    assert len(made.started) == 1


def test_interrupted_job_is_described_before_it_is_reported() -> None:
    """Data plane 4.4: the same number may belong to another execution by now."""
    made = device("a.sh").boot().connect()
    made.take_log()
    made.boot().connect()
    assert made.take_log() == [
        "store reporting J1 step 0",
        SENT_DESCRIBE,
        "send UpdateJobExecution FAILED",
        "store done J1 step 0",
        SENT_START_NEXT,
    ]


def test_job_queued_anew_under_the_same_number_is_not_answered_for_by_the_old_one() -> None:
    """Data plane 4.4: queuedAt tells executions apart after a deletion."""
    made = device("a.sh").boot().connect()
    made.service.executions.clear()
    made.service.queue("J1", document("b.sh"), queued_at=1_700_000_500)
    made.boot().connect()
    assert result(made)[0] == "IN_PROGRESS"
    assert [label for _, _, label in made.started] == ["1/1 a", "1/1 b"]


def test_document_that_allows_it_is_restarted_from_its_first_step() -> None:
    """Restart: all over again, once the service has said that it still wants it."""
    made = device("a.sh", "b.sh", onRestart="restart").boot().connect().exit(0)
    made.boot()
    assert len(made.started) == 2
    made.connect().exit(0).exit(0)
    assert [label for _, _, label in made.started] == ["1/2 a", "2/2 b", "1/2 a", "2/2 b"]
    assert result(made)[0] == "SUCCEEDED"


def test_document_that_allows_it_is_resumed_at_the_interrupted_step() -> None:
    """Resume: from the step that was running."""
    made = device("a.sh", "b.sh", onRestart="resume").boot().connect().exit(0)
    made.boot().connect().exit(0)
    assert [label for _, _, label in made.started] == ["1/2 a", "2/2 b", "2/2 b"]
    assert result(made)[0] == "SUCCEEDED"


def test_restarts_are_bounded() -> None:
    """A job that takes the device down each time must end."""
    made = device("a.sh", onRestart="restart")
    made.limits = Limits(restarts_max=2)
    for _ in range(4):
        made.boot().connect()
    assert result(made) == ("FAILED", "interrupted by restart during step 1/1 a, after 2 restarts")
    assert len(made.started) == 3


def test_interrupted_job_that_was_canceled_meanwhile_is_not_restarted() -> None:
    """Issue 6: nothing runs that the service has ended."""
    made = device("a.sh", onRestart="restart").boot().connect()
    made.service.end("J1")
    made.boot().connect()
    assert len(made.started) == 1
    assert made.agent.state is State.IDLE


def test_crash_after_the_result_sends_it_again_and_runs_nothing() -> None:
    """Control plane 8: the terminal report survives."""
    made = device("a.sh").boot().connect()
    made.is_link_deaf = True
    made.exit(3)
    made.is_link_deaf = False
    made.boot().connect()
    assert result(made) == ("FAILED", "step 1/1 a exited with status 3")
    assert len(made.started) == 1


def test_lost_checkpoint_fails_what_is_in_progress() -> None:
    """A checkpoint that cannot be read must not let a job run twice."""
    made = device("a.sh").boot().connect()
    made.is_disk_lost = True
    made.boot().connect()
    assert result(made) == ("FAILED", "interrupted by restart; the checkpoint could not be read")
    assert len(made.started) == 1


def test_lost_checkpoint_restarts_a_document_that_allows_it() -> None:
    """The document may say that twice is no harm."""
    made = device("a.sh", onRestart="restart").boot().connect()
    made.is_disk_lost = True
    made.boot().connect()
    assert len(made.started) == 2


def test_lost_checkpoint_does_not_touch_jobs_that_only_wait() -> None:
    """What is QUEUED has not run."""
    made = Device(FakeService(), is_disk_lost=True)
    made.service.queue("J1", document("a.sh"))
    made.boot().connect().exit(0)
    assert result(made)[0] == "SUCCEEDED"


def test_finished_job_that_is_handed_out_again_is_reported_again_not_run() -> None:
    """A service that forgot the result gets it again, ever more slowly."""
    made = device("a.sh").boot().connect().exit(0)
    execution = made.service.of("J1")
    for _ in range(3):
        execution.status = Status.IN_PROGRESS
        made.hear(made.service.notifications()).wait(700)
        assert execution.status is Status.SUCCEEDED
    assert len(made.started) == 1


def test_finished_job_is_remembered_across_a_restart() -> None:
    """As above, with the memory on disk."""
    made = device("a.sh").boot().connect().exit(0)
    made.service.of("J1").status = Status.IN_PROGRESS
    made.boot().connect().wait(11)
    assert result(made)[0] == "SUCCEEDED"
    assert len(made.started) == 1


@pytest.mark.parametrize("member", ["document", "step"])
def test_stored_document_that_this_agent_cannot_run_is_failed(member: str) -> None:
    """A checkpoint of another version of the agent must not stop this one."""
    made = device("a.sh").boot().connect()
    assert made.disk is not None
    old, new = (
        (b'"version":"1.0"', b'"version":"0.9"')
        if member == "document"
        else (b'"step_index":0', b'"step_index":7')
    )
    assert old in made.disk
    made.disk = made.disk.replace(old, new)
    made.boot().connect()
    assert result(made)[0] == "FAILED"
    assert result(made)[1].startswith("interrupted by restart; ")


@pytest.mark.parametrize(
    ("facts", "status"),
    [(None, Status.IN_PROGRESS), ({"site": "oslo"}, Status.IN_PROGRESS), ({"site": "rome"}, Status.REJECTED)],
)
def test_conditions_reject_a_job_only_where_they_are_evaluated(
    facts: dict[str, str] | None, status: Status
) -> None:
    """A38: ignored by default, as in the Device Client; behind a setting they must hold."""
    made = Device(FakeService(), limits=Limits(facts=facts))
    made.service.queue("J1", document("a.sh", conditions=[{"key": "site", "value": ["oslo"]}]))
    made.boot().connect()
    assert made.service.of("J1").status is status
    assert bool(made.started) is (status is Status.IN_PROGRESS)
