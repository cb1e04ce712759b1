"""Scheduled jobs at work: startTime, endTime, maintenance windows (control plane 6). The world starts at
2023-11-14 22:13:20 UTC.
"""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld
from tests.broker.core.world import MINUTE_MS, START_MS, World, endings, listed, only, picture, rejection
from tests.broker.store.test_capture import captured, unpacked
from thingjobs_broker.core import lifecycle, schedule
from thingjobs_broker.core.ports import Rules
from thingjobs_broker.store.restore import restore
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import JobStatus

HOUR_MS = 60 * MINUTE_MS
DAILY_AT_TEN = {"startTime": "cron(0 10 * * ? *)", "durationInMinutes": 60}
TO_TEN_MS = schedule.parse_time("t", "2023-11-15 10:00") - START_MS
ENDS = ("STOP_ROLLOUT", "CANCEL", "FORCE_CANCEL")


def at(duration_ms: int) -> str:
    """A time so long after the start, to the second."""
    return str((START_MS + duration_ms) // 1000)


def windowed(*things: str, **config: Any) -> GroupWorld:
    """J1 is CONTINUOUS on G, which has all things, and open daily from ten to eleven."""
    rules = config.pop("rules", None)
    world = GroupWorld(*things, rules=rules)
    world.group("G", *things)
    scheduling = {"maintenanceWindows": [DAILY_AT_TEN], **config.pop("schedulingConfig", {})}
    world.create_job("J1", "G", targetSelection="CONTINUOUS", schedulingConfig=scheduling, **config)
    return world


def test_v12_a_start_in_ten_minutes_is_too_soon() -> None:
    """V12, and the other spans of control plane 6.1; nothing changes."""
    world = World("T")
    wrong: list[dict[str, Any]] = [
        {"startTime": at(10 * MINUTE_MS)},
        {"startTime": at(366 * 24 * HOUR_MS + MINUTE_MS)},
        {"startTime": "tomorrow"},
        {"endTime": at(29 * MINUTE_MS)},
        {"startTime": at(HOUR_MS), "endTime": at(HOUR_MS + 29 * MINUTE_MS)},
        {"endTime": at(HOUR_MS), "endBehavior": "EXPLODE"},
        {"maintenanceWindows": [DAILY_AT_TEN]},
        {"maintenanceWindows": []},
        {"maintenanceWindows": [{"startTime": "0 10 * * ? *", "durationInMinutes": 1431}]},
        {"maintenanceWindows": [{"startTime": "every day", "durationInMinutes": 5}]},
    ]
    for scheduling in wrong:
        request = {"jobId": "J1", "targets": ["T"], "document": "{}", "schedulingConfig": scheduling}
        assert only(world.call("CreateJob", request))["code"] == "InvalidRequestException", scheduling
    assert world.state.jobs == {}


def test_a_job_starts_at_its_time_with_the_members_of_then() -> None:
    """Control plane 2.2, A12; all counters are 0 before, and nothing is concurrent (2.3, 2.4)."""
    world = GroupWorld("A", "B", "N")
    world.group("G", "A", "B")
    sent = world.create_job("J1", "G", schedulingConfig={"startTime": at(HOUR_MS)})
    assert endings(sent) == ["accepted"]
    job = world.described("J1")
    assert (job["status"], job["isConcurrent"]) == ("SCHEDULED", False)
    assert job["schedulingConfig"] == {"startTime": at(HOUR_MS)}
    assert "processingTargets" not in job["jobProcessDetails"]
    assert (world.join("N", "G"), world.leave("A", "G")) == ([], [])
    world.restart()
    assert world.advance(HOUR_MS - 1) == []
    assert endings(world.advance(1)) == ["notify", "notify-next"] * 2
    assert [one and one.thing_name for one in world.job("J1").executions] == ["B", "N"]
    assert world.job("J1").status is JobStatus.IN_PROGRESS


def test_a_start_that_passes_while_the_service_is_down_is_made_up_for() -> None:
    """Promise 5: no timer is lost by a restart."""
    world = World("T")
    world.create_job("J1", schedulingConfig={"startTime": at(HOUR_MS)})
    world.pass_unnoticed(2 * HOUR_MS)
    assert endings(world.restart()) == ["notify", "notify-next"]


def test_a_scheduled_job_can_be_updated_canceled_and_deleted() -> None:
    """Control plane 1.5, 5.3; it never starts then."""
    world = World("T")
    for job_id in ("J1", "J2"):
        world.create_job(job_id, schedulingConfig={"startTime": at(HOUR_MS)})
    world.control("UpdateJob", jobId="J1", description="new")
    events = endings(world.call("CancelJob", {"jobId": "J1"}))
    assert events == ["accepted", "cancellation_in_progress", "canceled"]
    refused = only(world.call("DeleteJob", {"jobId": "J2"}))
    assert refused["code"] == "InvalidStateTransitionException"
    world.control("DeleteJob", jobId="J2", force=True)
    assert world.advance(2 * HOUR_MS) == []


@pytest.mark.parametrize("behavior", [*ENDS, None])
def test_v14_the_end_comes_with_one_queued_and_one_running(behavior: str | None) -> None:
    """V14: STOP keeps both; CANCEL cancels the queued one; FORCE_CANCEL both, the job is COMPLETED (A13)."""
    world = World("A", "B")
    scheduling = {"endTime": at(HOUR_MS)} | ({"endBehavior": behavior} if behavior else {})
    world.create_job("J1", "A", "B", schedulingConfig=scheduling)
    world.device("A", "start-next")
    sent = world.advance(HOUR_MS)
    found = [world.execution(name, "J1").status.value for name in "AB"]
    assert found == {
        "CANCEL": ["IN_PROGRESS", "CANCELED"],
        "FORCE_CANCEL": ["CANCELED", "CANCELED"],
    }.get(behavior or "", ["IN_PROGRESS", "QUEUED"])
    job = world.job("J1")
    assert job.status is (JobStatus.COMPLETED if behavior == "FORCE_CANCEL" else JobStatus.IN_PROGRESS)
    assert ("notify" in endings(sent)) is (behavior in ("CANCEL", "FORCE_CANCEL"))
    assert job.force_canceled is (behavior == "FORCE_CANCEL")
    world.restart()
    if behavior != "FORCE_CANCEL":
        assert endings(world.update("A", "J1", "FAILED"))[0] == "accepted"
    if behavior in (None, "STOP_ROLLOUT"):
        assert world.job("J1").status is JobStatus.IN_PROGRESS
        world.update("B", "J1", "SUCCEEDED")
    assert world.job("J1").status is JobStatus.COMPLETED


def test_after_the_end_nothing_is_created() -> None:
    """Control plane 6.2: no rollout, no retries (A14), no joiners; also CONTINUOUS is then COMPLETED."""
    world = GroupWorld("A", "B", "N")
    world.group("G", "A", "B")
    world.create_job(
        "J1",
        "G",
        targetSelection="CONTINUOUS",
        schedulingConfig={"endTime": at(30 * MINUTE_MS)},
        jobExecutionsRolloutConfig={"maximumPerMinute": 1},
        jobExecutionsRetryConfig={"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]},
    )
    world.leave("B", "G")
    world.advance(29 * MINUTE_MS)
    world.control("UpdateJob", jobId="J1", description="x")
    world.advance(MINUTE_MS)
    assert world.join("N", "G") == []
    assert "completed" in endings(world.update("A", "J1", "FAILED"))
    assert world.made("J1") == 1


def test_after_the_end_failures_still_abort_for_those_that_have_not_begun() -> None:
    """Control plane 4: checked after every execution that ends, of any job that is IN_PROGRESS; with
    STOP_ROLLOUT (6.2) there may be many who could run still.
    """
    world = World("A", "B")
    criteria = {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 50}
    world.create_job(
        "J1",
        "A",
        "B",
        schedulingConfig={"endTime": at(30 * MINUTE_MS), "endBehavior": "STOP_ROLLOUT"},
        abortConfig={"criteriaList": [{**criteria, "minNumberOfExecutedThings": 1}]},
    )
    world.device("A", "start-next")
    world.advance(30 * MINUTE_MS)
    world.update("A", "J1", "FAILED")
    assert (world.job("J1").status, world.job("J1").reason_code) == (JobStatus.CANCELED, "ABORT_CRITERIA_MET")
    assert world.execution("B", "J1").status is Status.CANCELED


def test_who_times_out_at_a_start_after_the_end_gets_no_other_attempt() -> None:
    """Control plane 6.2: no retries, though the timer is seen before the job is."""
    world = World("A")
    world.create_job(
        "J1",
        "A",
        schedulingConfig={"endTime": at(40 * MINUTE_MS)},
        timeoutConfig={"inProgressTimeoutInMinutes": 30},
        jobExecutionsRetryConfig={"criteriaList": [{"failureType": "TIMED_OUT", "numberOfRetries": 3}]},
    )
    world.advance(5 * MINUTE_MS)
    world.device("A", "start-next")
    world.now_ms += 45 * MINUTE_MS
    world.restart()
    world.advance(MINUTE_MS)
    assert len(world.job("J1").executions) == 1
    assert world.job("J1").status is JobStatus.COMPLETED


def test_after_the_end_a_job_takes_no_further_targets() -> None:
    """Control plane 6.2, 1.5: it is IN_PROGRESS still, because a device that is away has its execution."""
    world = GroupWorld("A", "N")
    world.group("G", "A")
    world.group("H", "N")
    ends = {"endTime": at(30 * MINUTE_MS)}
    world.create_job("J1", "G", targetSelection="CONTINUOUS", schedulingConfig=ends)
    world.advance(30 * MINUTE_MS)
    assert world.job("J1").status is JobStatus.IN_PROGRESS
    answer = only(world.call("AssociateTargetsWithJob", {"jobId": "J1", "targets": ["H"]}))
    assert answer["code"] == "InvalidRequestException"
    assert "takes no further targets" in answer["message"]
    assert world.records == []


def test_an_end_before_the_start_of_anything_completes() -> None:
    """A job whose windows never opened has nothing left to do (control plane 2.2)."""
    world = windowed("T", schedulingConfig={"endTime": at(HOUR_MS)})
    assert endings(world.advance(HOUR_MS)) == ["completed"]
    assert world.job("J1").status is JobStatus.COMPLETED


def test_v13_windows_open_and_close_a_job() -> None:
    """V13: SCHEDULED until ten, IN_PROGRESS until eleven; QUEUED is hidden from devices outside."""
    world = windowed("T")
    job = world.described("J1")
    assert job["status"] == "SCHEDULED"
    starts = [one["startTime"] for one in job["scheduledJobRollouts"]]
    assert starts == [f"2023-11-{day} 10:00" for day in range(15, 22)]
    assert world.advance(TO_TEN_MS - 1) == []
    assert endings(world.advance(1)) == ["notify", "notify-next"]
    assert world.job("J1").status is JobStatus.IN_PROGRESS
    world.control("UpdateJob", jobId="J1", description="x")
    closed = world.advance(HOUR_MS)
    assert endings(closed) == ["notify", "notify-next"]
    assert listed(closed[0]) == {}
    assert "execution" not in closed[1].body
    assert world.job("J1").status is JobStatus.SCHEDULED
    assert world.described("J1")["isConcurrent"] is False
    assert world.execution("T", "J1").status is Status.QUEUED
    # Nothing that a device asks for shows it or starts it.
    assert world.device("T", "get")[0].body["queuedJobs"] == []
    assert "execution" not in world.device("T", "start-next")[0].body
    assert "execution" not in world.device("T", "$next/get")[0].body
    for status in ("IN_PROGRESS", "SUCCEEDED"):
        code, state = rejection(world.update("T", "J1", status))
        assert (code, state) == ("InvalidStateTransition", {"status": "QUEUED", "versionNumber": 1})
    assert not world.job("J1").turns
    assert world.restart() == []
    reopened = world.advance(23 * HOUR_MS)
    assert endings(reopened) == ["notify", "notify-next"]
    assert listed(reopened[0]) == {"QUEUED": ["J1"]}
    world.update("T", "J1", "SUCCEEDED")
    # A CONTINUOUS job has no end of its own; an empty window is told to nobody.
    assert world.advance(48 * HOUR_MS) == []


def test_what_runs_goes_on_outside_the_window_and_is_retried_in_the_next() -> None:
    """Control plane 6.3, "Closed"; a joiner waits for the next opening too; leaving forfeits both."""
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    world = windowed("A", "B", jobExecutionsRetryConfig=retry)
    for name in ("N", "M"):
        world.control("CreateThing", thingName=name)
    world.advance(TO_TEN_MS)
    for name in ("A", "B"):
        world.device(name, "start-next")
    assert world.advance(HOUR_MS) == []
    assert endings(world.update("A", "J1", "FAILED")) == ["accepted", "notify", "notify-next", "failed"]
    world.update("B", "J1", "FAILED")
    for name in ("N", "M"):
        assert world.join(name, "G") == []
    world.leave("B", "G")
    world.leave("M", "G")
    assert world.job("J1").owed == {"A": 1, "N": 0}
    world.restart()
    assert world.made("J1") == 2
    world.advance(23 * HOUR_MS)
    newest = world.execution("A", "J1")
    assert (newest.execution_number, newest.retry_attempt, newest.queued_at_ms) == (2, 1, world.now_ms)
    assert world.execution("N", "J1").status is Status.QUEUED
    assert world.thing("M").executions == {}
    assert world.job("J1").owed == {}


def test_other_jobs_show_through_while_a_window_is_closed() -> None:
    """The front and the lists are those of what is visible; changes of what is hidden notify nobody."""
    world = windowed("T")
    world.advance(TO_TEN_MS)
    world.create_job("J2", "T")
    closed = world.advance(HOUR_MS)
    assert listed(closed[0]) == {"QUEUED": ["J2"]}
    assert closed[1].body["execution"]["jobId"] == "J2"
    assert endings(world.leave("T", "G")) == ["removed"]
    started = world.device("T", "start-next")
    assert started[0].body["execution"]["jobId"] == "J2"
    world.join("T", "G")
    opened = world.advance(23 * HOUR_MS)
    assert endings(opened) == ["notify"]
    assert listed(opened[0]) == {"IN_PROGRESS": ["J2"], "QUEUED": ["J1"]}


def test_a_rollout_pauses_outside_the_window() -> None:
    """Control plane 3.3, "Pause": no executions, the clock of its windows stands still."""
    names = [f"T{number:03}" for number in range(100)]
    world = windowed(*names, jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.pass_unnoticed(TO_TEN_MS + 30_000)
    world.fire()
    world.advance(HOUR_MS - 30_000)
    assert (world.job("J1").status, world.made("J1")) == (JobStatus.SCHEDULED, 60)
    # Half a minute of the present window had passed; the next opening is noticed late.
    world.pass_unnoticed(23 * HOUR_MS + 20_000)
    world.restart()
    assert world.made("J1") == 60
    world.advance(29_999)
    assert world.made("J1") == 60
    world.advance(1)
    assert world.made("J1") == 61


def test_an_end_outside_the_window_shows_what_stays_queued() -> None:
    """STOP_ROLLOUT: QUEUED may still run (control plane 6.2), so its device must see it."""
    world = windowed("T", schedulingConfig={"endTime": at(TO_TEN_MS + 3 * HOUR_MS)})
    world.advance(TO_TEN_MS + HOUR_MS)
    shown = world.advance(2 * HOUR_MS)
    assert endings(shown) == ["notify", "notify-next"]
    assert "completed" in endings(world.update("T", "J1", "SUCCEEDED"))


def test_a_restart_in_the_middle_of_an_opening_tells_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices that were not told yet are told after it; some may be told twice."""
    monkeypatch.setattr("thingjobs_broker.core.lifecycle.SWEEP_SLICE", 2)
    monkeypatch.setattr("thingjobs_broker.core.service.JOBS_RECORDS_SLICE", 2)
    names = [f"T{number}" for number in range(5)]
    world = windowed(*names)
    world.advance(TO_TEN_MS + HOUR_MS)
    world.pass_unnoticed(23 * HOUR_MS)
    first = world.fire()
    assert endings(first) == ["notify", "notify-next"] * 2
    told = {message.topic.split("/")[2] for message in world.restart() + world.advance(0)}
    assert told == set(names)


def test_at_the_limit_a_window_cancels_its_job_and_a_start_waits() -> None:
    """A30, configurable; a job with a startTime is held until others are done (control plane 2.4)."""
    for cancels in (True, False):
        world = windowed("T", "U", rules=Rules(concurrent_jobs_max=1, windowed_jobs_cancel_at_limit=cancels))
        world.create_job("J3", "T", schedulingConfig={"startTime": at(TO_TEN_MS)})
        world.advance(TO_TEN_MS - 30_000)
        world.create_job("J2", "G", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
        world.advance(30_000)
        assert world.job("J1").status is (JobStatus.CANCELED if cancels else JobStatus.SCHEDULED)
        assert world.job("J3").status is JobStatus.SCHEDULED
        world.advance(2 * MINUTE_MS)
        assert world.job("J3").status is not JobStatus.SCHEDULED
        if not cancels:
            assert world.job("J1").status is JobStatus.IN_PROGRESS


def test_fifteen_are_shown_with_a_window_open() -> None:
    """A4: ten without."""
    world = windowed("T")
    for number in range(16):
        world.create_job(f"K{number}", "T")
    assert len(world.device("T", "get")[0].body["queuedJobs"]) == 10
    world.advance(TO_TEN_MS)
    assert len(world.device("T", "get")[0].body["queuedJobs"]) == 15


def test_a_schedule_cannot_be_updated() -> None:
    """Control plane 5.3: members that UpdateJob does not know are ignored."""
    world = windowed("T")
    before = world.described("J1")["schedulingConfig"]
    world.control("UpdateJob", jobId="J1", schedulingConfig={"endTime": at(HOUR_MS)})
    assert world.described("J1")["schedulingConfig"] == before
    assert picture(world.recovered()) == picture(world.state)


@pytest.mark.parametrize(
    ("operation", "force"), [("CancelJob", False), ("CancelJob", True), ("DeleteJob", True)]
)
def test_what_a_window_hides_goes_unseen(operation: str, force: bool) -> None:
    """5.2: a job that ends outside its window changes nothing for a device that did not see it."""
    world = windowed("T")
    world.advance(TO_TEN_MS)
    world.advance(HOUR_MS)
    assert world.device("T", "get")[0].body["queuedJobs"] == []
    sent = world.call(operation, {"jobId": "J1", "force": force}) + world.advance(MINUTE_MS)
    assert sent[0].ending == "accepted"
    assert world.state.jobs.get("J1") is None or world.job("J1").settled
    assert [one for one in sent if one.ending.startswith("notify")] == []


@pytest.mark.parametrize("operation", ["CancelJob", "DeleteJob"])
def test_what_a_window_hides_stays_unseen_until_its_slice_comes(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5.2: neither seen between two slices, nor announced by the later ones, nor after a restart."""
    monkeypatch.setattr(lifecycle, "SWEEP_SLICE", 1)
    world = windowed("A", "B", "C")
    world.advance(TO_TEN_MS)
    world.advance(HOUR_MS)
    sent = world.call(operation, {"jobId": "J1", "force": True})
    assert world.device("C", "get")[0].body["queuedJobs"] == []
    for state in (world.recovered(), restore(unpacked(captured(world.state)))):
        assert picture(state) == picture(world.state)
        assert set(state.closed_jobs) == set(world.state.closed_jobs) == {"J1"}
    sent += world.advance(MINUTE_MS)
    assert world.state.jobs.get("J1") is None or world.job("J1").settled
    assert not world.state.closed_jobs
    assert [one for one in sent if one.ending.startswith("notify")] == []
