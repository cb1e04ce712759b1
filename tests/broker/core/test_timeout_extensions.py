"""Timeouts beyond AWS at work: defaults, maxima, changes, expiry (control plane 9, B1 to B24)."""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld
from tests.broker.core.world import MINUTE_MS, START_MS, START_S, endings, only, picture
from thingjobs_broker.config import JobsSettings, ServiceSettings
from thingjobs_broker.core.ports import Rules
from thingjobs_broker.host import rules_of
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import JobStatus

INVALID = "InvalidRequestException"
STATE = "InvalidStateTransitionException"


def minutes(count: int) -> dict[str, int]:
    """A timeoutConfig."""
    return {"inProgressTimeoutInMinutes": count}


def shown(world: GroupWorld, job_id: str = "J1") -> dict[str, int] | None:
    """The timeoutConfig that DescribeJob shows."""
    config: dict[str, int] | None = world.described(job_id).get("timeoutConfig")
    return config


def running(count: int | None, **rules: Any) -> GroupWorld:
    """J1 runs on T with that initial timeout."""
    world = GroupWorld("T", rules=Rules(**rules))
    world.create_job("J1", **({"timeoutConfig": minutes(count)} if count else {}))
    world.device("T", "start-next")
    return world


def extend(world: GroupWorld, value: Any) -> dict[str, Any]:
    """UpdateJobExecutionTimeout of J1 on T; the answer or the refusal."""
    request = {"jobId": "J1", "thingName": "T", "timeoutInMinutes": value}
    return only(world.call("UpdateJobExecutionTimeout", request))


def test_b1_b2_b8_the_timer_is_the_executions_and_runs_only_while_it_runs() -> None:
    """B1, B2, B8: queued for long is no time-out; each execution has a timer of its own."""
    world = GroupWorld("T", "U")
    world.create_job("J1", "T", "U", timeoutConfig=minutes(5))
    world.advance(60 * MINUTE_MS)
    world.device("T", "start-next")
    world.advance(MINUTE_MS)
    world.device("U", "start-next")
    deadlines = [world.execution(name, "J1").in_progress_deadline_ms - START_MS for name in "TU"]
    assert deadlines == [65 * MINUTE_MS, 66 * MINUTE_MS]


def test_b3_b4_the_first_default_that_is_set_wins() -> None:
    """B3, B4: job, template, groups in the order of the targets, service."""
    world = GroupWorld("T", rules=Rules(timeout_minutes_default=40))
    for group, default in (("G", None), ("H", 30), ("I", 20)):
        world.group(group, "T")
        members = {"defaultTimeoutInMinutes": default} if default else {}
        world.control("UpdateThingGroupTimeouts", thingGroupName=group, **members)
    world.control(
        "CreateJobTemplate", jobTemplateId="tpl", description="x", document="{}", timeoutConfig=minutes(10)
    )
    template = "arn:aws:iot:local:000000000000:jobtemplate/tpl"
    cases: list[tuple[list[str], dict[str, Any], int]] = [
        (["T"], {}, 40),
        (["G"], {}, 40),
        (["G", "H", "I"], {}, 30),
        (["H"], {"jobTemplateArn": template}, 10),
        (["H"], {"jobTemplateArn": template, "timeoutConfig": minutes(5)}, 5),
    ]
    for number, (targets, members, expected) in enumerate(cases):
        world.create_job(f"J{number}", *targets, **members)
        assert shown(world, f"J{number}") == minutes(expected), (targets, members)
    world.restart()
    described = world.control("DescribeThingGroupTimeouts", thingGroupName="H")
    assert described == {"thingGroupName": "H", "defaultTimeoutInMinutes": 30}


def test_b5_b24_the_smallest_maximum_is_set_for_what_is_larger_or_missing() -> None:
    """B5, B24: it shows in DescribeJob; the range of AWS is refused still; UpdateJob is clamped too."""
    world = GroupWorld("T", rules=Rules(timeout_minutes_maxima=(("the plan", 240), ("the service", 300))))
    world.group("G", "T")
    world.control("UpdateThingGroupTimeouts", thingGroupName="G", maximumTimeoutInMinutes=60)
    for number, (target, given, expected) in enumerate(
        [("T", None, 240), ("T", 500, 240), ("T", 100, 100), ("G", 100, 60), ("G", None, 60)]
    ):
        config = {"timeoutConfig": minutes(given)} if given else {}
        world.create_job(f"J{number}", target, **config)
        assert shown(world, f"J{number}") == minutes(expected)
    for wrong in (0, 10_081):
        request = {"jobId": "J9", "targets": ["T"], "document": "{}", "timeoutConfig": minutes(wrong)}
        assert only(world.call("CreateJob", request))["code"] == INVALID
    world.control("UpdateJob", jobId="J2", timeoutConfig=minutes(1000))
    assert shown(world, "J2") == minutes(240)


def test_without_settings_nothing_is_invented() -> None:
    """The AWS-compatible mode is the default (B3, B5, B19)."""
    world = GroupWorld("T")
    world.create_job("J1")
    assert shown(world) is None
    world.advance(40 * 24 * 60 * MINUTE_MS)
    assert world.execution("T", "J1").status is Status.QUEUED
    assert world.service.next_deadline_ms() is None


def test_v19_b9_b14_b18_a_timeout_is_extended_and_reduced() -> None:
    """V19, B9, B14, B18: from 90, 150 is taken, 151 and 0 refused, 60 taken; both stand in the timeline."""
    world = running(90)
    world.advance(1000)
    assert extend(world, 150) == {"timeoutInMinutes": 150, "previousTimeoutInMinutes": 90}
    assert world.execution("T", "J1").in_progress_deadline_ms == START_MS + 150 * MINUTE_MS
    before = picture(world.state)
    assert extend(world, 151)["code"] == INVALID
    assert extend(world, 0)["code"] == INVALID
    assert picture(world.state) == before
    world.restart()
    assert extend(world, 60) == {"timeoutInMinutes": 60, "previousTimeoutInMinutes": 150}
    timeline = world.control("DescribeTimeline", jobId="J1", thingName="T")["timeline"]
    told = {"at": START_S + 1.0, "event": "timeout changed", "by": "operator"}
    assert timeline[2:] == [
        told | {"previousMinutes": 90, "newMinutes": 150},
        told | {"previousMinutes": 150, "newMinutes": 60},
    ]
    assert world.execution("T", "J1").version_number == 4
    world.advance(60 * MINUTE_MS - 1001)
    assert world.execution("T", "J1").status is Status.IN_PROGRESS
    world.advance(2000)
    assert world.execution("T", "J1").status is Status.TIMED_OUT


@pytest.mark.parametrize("value", [0, -1, 1.5, 5.0, "5", True, None, [], 10_081])
def test_b10_b11_only_whole_minutes_in_range_are_taken(value: Any) -> None:
    """B10, B11: there is no -1 that removes it; nothing changes."""
    world = running(9000)
    before = picture(world.state)
    assert extend(world, value)["code"] == INVALID
    assert picture(world.state) == before


def test_b12_only_a_running_execution_has_a_timeout_to_change() -> None:
    """B12: the state error before and after; an execution that is not there is not found."""
    world = GroupWorld("T")
    world.create_job("J1", timeoutConfig=minutes(5))
    assert extend(world, 6)["code"] == STATE
    world.update("T", "J1", "SUCCEEDED")
    assert extend(world, 6)["code"] == STATE
    request = {"jobId": "J9", "thingName": "T", "timeoutInMinutes": 5}
    answer = only(world.call("UpdateJobExecutionTimeout", request))
    assert answer["code"] == "ResourceNotFoundException"


def test_b13_above_a_maximum_is_refused_not_clamped() -> None:
    """B13: the maxima of B5 hold for changes too."""
    world = running(90, timeout_minutes_maxima=(("the plan", 100),))
    assert extend(world, 100)["timeoutInMinutes"] == 100
    refused = extend(world, 101)
    assert refused["code"] == INVALID
    assert "the plan" in refused["message"]


def test_b14_the_initial_timeout_may_be_a_default_and_outlives_an_update() -> None:
    """B14: also when it came from a default; an UpdateJob of the job is of no concern (V20)."""
    world = running(None, timeout_minutes_default=30)
    world.control("UpdateJob", jobId="J1", timeoutConfig=minutes(500))
    assert extend(world, 91)["code"] == INVALID
    assert extend(world, 90)["timeoutInMinutes"] == 90
    assert extend(world, 91)["code"] == INVALID


def test_b15_without_an_initial_timeout_any_may_be_set() -> None:
    """B15: no limit of 60 more, then or later."""
    world = running(None)
    assert extend(world, 10_000) == {"timeoutInMinutes": 10_000}
    assert extend(world, 10_080)["timeoutInMinutes"] == 10_080
    assert extend(world, 1)["timeoutInMinutes"] == 1


def test_b16_b17_b21_a_timeout_that_has_elapsed_times_out_at_the_next_sweep() -> None:
    """B16, B17, B21: TIMED_OUT counts, and by the service."""
    world = running(90)
    world.advance(30 * MINUTE_MS)
    assert extend(world, 10)["timeoutInMinutes"] == 10
    assert world.execution("T", "J1").status is Status.IN_PROGRESS
    assert endings(world.advance(0))[:3] == ["notify", "notify-next", "timed_out"]
    assert world.described("J1")["jobProcessDetails"]["numberOfTimedOutThings"] == 1


def test_the_step_timer_keeps_its_own_meaning() -> None:
    """B10, B11: two timers; a change of one leaves the other."""
    world = running(90)
    world.update("T", "J1", "IN_PROGRESS", stepTimeoutInMinutes=5)
    extend(world, 100)
    execution = world.execution("T", "J1")
    assert execution.step_deadline_ms == START_MS + 5 * MINUTE_MS
    assert execution.deadline_ms == execution.step_deadline_ms


def test_b6_the_timer_covers_all_that_is_done_until_the_last_report() -> None:
    """B6: steps, final step and upload report progress, and none of it moves the end."""
    world = GroupWorld("T")
    world.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    world.device("T", "start-next")
    for phase in ("step", "finalStep", "upload", "upload"):
        world.advance(MINUTE_MS)
        world.update("T", "J1", "IN_PROGRESS", statusDetails={"phase": phase})
    assert world.advance(MINUTE_MS - 1) == []
    assert "timed_out" in endings(world.advance(1))


def test_b19_b20_b21_what_nobody_starts_expires() -> None:
    """B19 to B21, A40: counted from the job's creation, CANCELED with a reason, at most an hour late."""
    world = GroupWorld("T", "U", rules=Rules(expiry_minutes=90))
    world.create_job("J1", "T", "U")
    world.device("U", "start-next")
    world.advance(89 * MINUTE_MS)
    assert world.execution("T", "J1").status is Status.QUEUED
    sent = world.advance(61 * MINUTE_MS)
    assert endings(sent) == ["notify", "notify-next", "canceled"]
    expired = world.execution("T", "J1")
    assert (expired.status, expired.status_details) == (
        Status.CANCELED,
        {"reason": "Expired: not started within 90 minutes"},
    )
    assert world.execution("U", "J1").status is Status.IN_PROGRESS
    timeline = world.control("DescribeTimeline", jobId="J1", thingName="T")["timeline"]
    assert timeline[-1]["cause"] == "expired"
    world.update("U", "J1", "SUCCEEDED")
    assert world.job("J1").status is JobStatus.COMPLETED
    world.restart()


@pytest.mark.parametrize(("interval", "canceled_after"), [(1, 91), (60, 120)])
def test_b20_an_operator_sets_how_often_it_is_looked_for(interval: int, canceled_after: int) -> None:
    """B20: every hour or sooner; nobody waits longer than that beyond the expiry, and nobody shorter."""
    jobs = JobsSettings(expiry_minutes=90, expiry_interval_minutes=interval)
    world = GroupWorld("T", rules=rules_of(ServiceSettings(jobs=jobs)))
    world.fire()
    world.advance(30_000)
    world.create_job("J1")
    world.advance(canceled_after * MINUTE_MS - 30_001)
    assert world.execution("T", "J1").status is Status.QUEUED
    world.advance(1)
    assert world.execution("T", "J1").status is Status.CANCELED


def test_b19_a_retry_expires_by_its_own_clock() -> None:
    """B19: from its own queuedAt."""
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    world = GroupWorld("T", rules=Rules(expiry_minutes=90))
    world.create_job("J1", jobExecutionsRetryConfig=retry)
    world.advance(80 * MINUTE_MS)
    world.update("T", "J1", "FAILED")
    world.advance(80 * MINUTE_MS)
    assert world.execution("T", "J1", 2).status is Status.QUEUED
    world.advance(80 * MINUTE_MS)
    assert world.execution("T", "J1", 2).status is Status.CANCELED


def test_b19_who_joins_a_group_later_expires_by_a_clock_of_their_own() -> None:
    """B19: from their own queuedAt, when they joined; for those who were there it is the creation."""
    world = GroupWorld("T", "U", rules=Rules(expiry_minutes=90, expiry_interval_ms=MINUTE_MS))
    world.group("G", "T")
    world.create_job("J1", "G", targetSelection="CONTINUOUS")
    world.advance(80 * MINUTE_MS)
    world.join("U", "G")
    assert world.execution("U", "J1").queued_at_ms == START_MS + 80 * MINUTE_MS
    world.advance(11 * MINUTE_MS)
    assert [world.execution(name, "J1").status for name in "TU"] == [Status.CANCELED, Status.QUEUED]
    world.advance(79 * MINUTE_MS - 1)
    assert world.execution("U", "J1").status is Status.QUEUED
    world.advance(MINUTE_MS + 1)
    assert world.execution("U", "J1").status is Status.CANCELED


def test_b19_whose_turn_of_a_rollout_comes_later_expires_with_the_others() -> None:
    """B19: a SNAPSHOT counts from its creation, however late the rollout came to a thing."""
    rules = Rules(expiry_minutes=90, expiry_interval_ms=MINUTE_MS)
    world = GroupWorld("T", "U", "V", rules=rules)
    world.create_job("J1", "T", "U", "V", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.advance(90 * MINUTE_MS - 1)
    assert {world.execution(name, "J1").status for name in "TUV"} == {Status.QUEUED}
    world.advance(MINUTE_MS)
    assert {world.execution(name, "J1").status for name in "TUV"} == {Status.CANCELED}


def test_b20_expiry_proceeds_in_slices() -> None:
    """Bounded work, over all jobs, whatever lies between them."""
    names = [f"T{number:03}" for number in range(600)]
    world = GroupWorld(*names, checked=False, rules=Rules(expiry_minutes=1, rollout_per_minute=None))
    world.group("G", *names)
    for job_id in ("J1", "J2", "J3"):
        world.create_job(job_id, "G")
        world.advance(0)
    for name in names[:300]:
        world.update(name, "J2", "SUCCEEDED")
    world.pass_unnoticed(61 * MINUTE_MS)
    slices: list[int] = []
    while not slices or world.service.next_deadline_ms() == world.now_ms:
        slices.append(endings(world.fire()).count("canceled"))
    assert max(slices) <= 500
    assert sum(slices) == 600 + 300 + 600
    assert {job.status for job in world.state.jobs.values()} == {JobStatus.COMPLETED}


def test_timeouts_of_a_group_need_the_group() -> None:
    """And minutes in range; absent is none."""
    world = GroupWorld("T")
    world.group("G", "T")
    for members in ({"thingGroupName": "X"}, {"thingGroupName": "G", "maximumTimeoutInMinutes": 0}):
        answer = only(world.call("UpdateThingGroupTimeouts", members))
        assert answer["code"] in (INVALID, "ResourceNotFoundException")
    world.control("UpdateThingGroupTimeouts", thingGroupName="G", maximumTimeoutInMinutes=5)
    world.control("UpdateThingGroupTimeouts", thingGroupName="G")
    assert world.control("DescribeThingGroupTimeouts", thingGroupName="G") == {"thingGroupName": "G"}
    assert world.state.group_timeouts == {}
