"""Why a job does not run on a thing: one story for each verdict, and the order in which they are given."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.world import MINUTE_MS, START_MS, START_S, World
from thingjobs_broker.core.ports import Presence, Rules
from thingjobs_broker.core.records import ThingGroupsChanged
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.why import VERDICTS

HOUR_MS = 60 * MINUTE_MS
# START_S is 22:13:20 UTC.
NIGHTLY = {"maintenanceWindows": [{"startTime": "cron(0 1 * * ? *)", "durationInMinutes": 60}]}
NOW = {"maintenanceWindows": [{"startTime": "cron(0 22 * * ? *)", "durationInMinutes": 60}]}
ONE_A_MINUTE = {"maximumPerMinute": 1}


class PresenceWorld(GroupWorld):
    """A world whose broker tells who is connected; nothing is known of a thing that is not in `presence`."""

    def __init__(self, *things: str, rules: Rules | None = None, **members: Any) -> None:
        self.presence: dict[str, Presence] = {}
        super().__init__(*things, rules=rules, **members)

    def of(self, thing_name: str) -> Presence:
        return self.presence.get(thing_name, Presence())

    def _new_service(self) -> JobsService:
        ports = msgspec.structs.replace(self.ports, presences=self)
        return JobsService(self.state, self._new_id, self.naming, ports=ports)

    def why(self, thing_name: str = "T", job_id: str = "j") -> dict[str, Any]:
        """The explanation of a job on a thing; nothing changes because somebody asks."""
        found: dict[str, Any]
        (found,) = self.control("ExplainExecution", thingName=thing_name, jobId=job_id)["explanations"]
        assert self.records == []
        return found


def world(*things: str, **members: Any) -> PresenceWorld:
    return PresenceWorld(*(things or ("T",)), **members)


def job_deleted() -> PresenceWorld:
    the_world = world(*numbered(600), "T")
    the_world.group("g", *numbered(600))
    the_world.create_job("j", "g", "T")
    the_world.advance(0)
    the_world.control("DeleteJob", jobId="j", force=True)
    return the_world


def retry_owed() -> PresenceWorld:
    the_world = world()
    retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]}
    the_world.group("g", "T")
    the_world.create_job(
        "j",
        *("g",),
        targetSelection="CONTINUOUS",
        schedulingConfig=NOW,
        jobExecutionsRetryConfig=retries,
    )
    the_world.update("T", "j", "IN_PROGRESS")
    the_world.advance(HOUR_MS)
    the_world.update("T", "j", "FAILED")
    return the_world


def timed_out() -> PresenceWorld:
    the_world = world()
    the_world.create_job("j", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    the_world.update("T", "j", "IN_PROGRESS")
    the_world.advance(6 * MINUTE_MS)
    return the_world


def ended() -> PresenceWorld:
    the_world = world()
    the_world.create_job("j")
    the_world.update("T", "j", "FAILED", statusDetails={"reason": "no space left"})
    return the_world


def execution_deleted() -> PresenceWorld:
    the_world = ended()
    the_world.control("DeleteJobExecution", thingName="T", jobId="j", executionNumber=1)
    return the_world


def job_canceled() -> PresenceWorld:
    the_world = world("A", "T")
    the_world.create_job("j", "A", "T", jobExecutionsRolloutConfig=ONE_A_MINUTE)
    the_world.control("CancelJob", jobId="j", comment="wrong checksum")
    return the_world


def not_a_target() -> PresenceWorld:
    the_world = world("A", "T")
    the_world.create_job("j", "A")
    return the_world


def job_over() -> PresenceWorld:
    the_world = world("A", "T")
    the_world.group("g", "A")
    the_world.create_job(
        "j", "g", targetSelection="CONTINUOUS", schedulingConfig={"endTime": str(START_S + 7200)}
    )
    the_world.update("A", "j", "SUCCEEDED")
    the_world.advance(3 * HOUR_MS)
    the_world.join("T", "g")
    return the_world


def joined_later() -> PresenceWorld:
    the_world = world("A", "T")
    the_world.group("g", "A")
    the_world.create_job("j", "g")
    the_world.join("T", "g")
    return the_world


def not_begun() -> PresenceWorld:
    the_world = world()
    the_world.create_job("j", schedulingConfig={"startTime": str(START_S + 3600)})
    return the_world


def window_closed_before() -> PresenceWorld:
    the_world = world()
    the_world.create_job("j", targetSelection="CONTINUOUS", schedulingConfig=NIGHTLY)
    return the_world


def at_limit() -> PresenceWorld:
    the_world = world("A", "B", "T", rules=Rules(concurrent_jobs_max=1))
    the_world.create_job("j", schedulingConfig={"startTime": str(START_S + 3600)})
    the_world.advance(HOUR_MS - 1000)
    the_world.create_job("other", "A", "B", jobExecutionsRolloutConfig=ONE_A_MINUTE)
    the_world.advance(2000)
    return the_world


def rollout_not_there() -> PresenceWorld:
    the_world = world(*numbered(25), "T")
    the_world.group("g", *numbered(25))
    the_world.create_job("j", "g", "T", jobExecutionsRolloutConfig={"maximumPerMinute": 10})
    return the_world


def about_to_come() -> PresenceWorld:
    the_world = world("T")
    the_world.group("g")
    the_world.create_job("j", "g", targetSelection="CONTINUOUS")
    # The registry tells the jobs of it within the same step; here it is late.
    the_world.put(ThingGroupsChanged("T", the_world.now_ms, "test", ["id-of-g"], []))
    return the_world


def job_being_canceled() -> PresenceWorld:
    the_world = world(*numbered(600), "T")
    the_world.group("g", *numbered(600))
    the_world.create_job("j", "g", "T")
    the_world.advance(0)
    the_world.control("CancelJob", jobId="j")
    return the_world


def window_closed() -> PresenceWorld:
    the_world = world()
    the_world.create_job("j", targetSelection="CONTINUOUS", schedulingConfig=NOW)
    the_world.advance(HOUR_MS)
    return the_world


def queued(presence: Presence | None = None) -> PresenceWorld:
    the_world = world()
    if presence is not None:
        the_world.presence["T"] = presence
    the_world.create_job("j")
    return the_world


def offline() -> PresenceWorld:
    return queued(Presence(is_connected=False, since_ms=START_MS - HOUR_MS))


def behind() -> PresenceWorld:
    the_world = world()
    the_world.presence["T"] = Presence(is_connected=True, since_ms=START_MS, is_subscribed=True)
    for job_id in ("first", "second", "j"):
        the_world.create_job(job_id)
    the_world.update("T", "first", "IN_PROGRESS")
    return the_world


def not_subscribed() -> PresenceWorld:
    return queued(Presence(is_connected=True, since_ms=START_MS, is_subscribed=False))


def in_namespace() -> PresenceWorld:
    the_world = world()
    the_world.presence["T"] = Presence(is_connected=True, since_ms=START_MS, is_subscribed=False)
    the_world.create_job("plain")
    the_world.create_job("j", namespaceId="ns")
    return the_world


def not_seen() -> PresenceWorld:
    the_world = world()
    the_world.device("T", "get", {})
    the_world.advance(MINUTE_MS)
    the_world.create_job("j")
    return the_world


def not_taken() -> PresenceWorld:
    return queued(Presence(is_connected=True, since_ms=START_MS, is_subscribed=True))


def running_offline() -> PresenceWorld:
    the_world = running()
    the_world.presence["T"] = Presence(is_connected=False, since_ms=START_MS + 5000)
    return the_world


def running() -> PresenceWorld:
    the_world = queued()
    the_world.update("T", "j", "IN_PROGRESS", stepTimeoutInMinutes=7)
    return the_world


def test_a_device_that_is_away_times_out_all_the_same() -> None:
    """Control plane A35: the timer is the service's, whether its device is connected or not."""
    the_world = running_offline()
    assert the_world.why()["verdict"] == "RUNNING_OFFLINE"
    the_world.advance(7 * MINUTE_MS)
    assert the_world.why()["verdict"] == "TIMED_OUT"


STORIES: list[tuple[Callable[[], PresenceWorld], str, str, dict[str, Any]]] = [
    (job_deleted, "JOB_DELETED", "the job is being deleted", {}),
    (retry_owed, "RETRY_OWED", "it ended FAILED; retry 1 follows when the window opens", {"retry": 1}),
    (
        timed_out,
        "TIMED_OUT",
        "attempt 1 has timed out (in-progress timer); no retry is left",
        {"since": START_S + 300, "minutes": 5},
    ),
    (ended, "ENDED", "attempt 1 has ended: FAILED by device, no space left", {"since": START_S}),
    (execution_deleted, "EXECUTION_DELETED", "its execution was deleted, and is not made again", {}),
    (not_a_target, "NOT_A_TARGET", "the job is not for this thing: it is no target, nor in one", {}),
    (
        job_canceled,
        "JOB_CANCELED",
        "the job was canceled before its turn came: wrong checksum",
        {"since": START_S},
    ),
    (job_over, "JOB_OVER", "the job had ended before the thing could get it", {"since": START_S + 7200}),
    (joined_later, "JOINED_LATER", "it joined after the job, a SNAPSHOT, had taken its members", {}),
    (
        not_begun,
        "NOT_BEGUN",
        "the job has not begun: its start time is to come",
        {"until": START_S + 3600},
    ),
    (
        window_closed_before,
        "WINDOW_CLOSED",
        "the job's maintenance window is closed",
        {"until": START_S + 10_000},
    ),
    (at_limit, "AT_LIMIT", "1 jobs are being rolled out or canceled, as many as may be", {"jobs": 1}),
    (
        rollout_not_there,
        "ROLLOUT_NOT_THERE",
        "the rollout is not there yet: 15 things come first",
        {"ahead": 15, "until": START_S + 120},
    ),
    (about_to_come, "ABOUT_TO_COME", "it is about to get its execution", {}),
    (job_being_canceled, "JOB_CANCELED", "the job was canceled; this execution follows", {}),
    (
        window_closed,
        "WINDOW_CLOSED",
        "it waits: the job's maintenance window is closed",
        {"until": START_S + 85_600},
    ),
    (offline, "OFFLINE", "the device is not connected", {"since": START_S - 3600}),
    (
        behind,
        "BEHIND",
        "it waits behind job first, which is IN_PROGRESS (2 before it)",
        {"behind": "first", "before": 2},
    ),
    (
        in_namespace,
        "IN_NAMESPACE",
        "it is offered on the topics of namespace ns only",
        {"namespace": "ns", "since": START_S},
    ),
    (
        not_subscribed,
        "NOT_SUBSCRIBED",
        "the device is connected, but subscribed to no notification",
        {"since": START_S},
    ),
    (
        not_seen,
        "NOT_SEEN",
        "the device has asked for nothing since the job was queued",
        {"since": START_S},
    ),
    (not_taken, "NOT_TAKEN", "it is the device's turn: it has not started it", {"since": START_S}),
    (
        running_offline,
        "RUNNING_OFFLINE",
        "the device has started it, and is not connected",
        {"since": START_S + 5, "until": START_S + 420},
    ),
    (
        running,
        "RUNNING",
        "the device is working on it",
        {"since": START_S, "until": START_S + 420},
    ),
]


@pytest.mark.parametrize(
    ("story", "code", "explanation", "facts"), STORIES, ids=[story[0].__name__ for story in STORIES]
)
def test_each_verdict_is_given_with_its_facts(
    story: Callable[[], PresenceWorld], code: str, explanation: str, facts: dict[str, Any]
) -> None:
    """Architecture, promise 10: every wait has a reason that can be printed."""
    found = story().why()
    assert (found["verdict"], found["explanation"]) == (code, explanation)
    assert {name: found.get(name) for name in facts} == facts


def test_there_is_a_story_for_every_verdict() -> None:
    """A verdict without one may never be given."""
    assert len(STORIES) == len(VERDICTS)
    assert [code for _, code, _, _ in STORIES] == [verdict.code for verdict in VERDICTS]


def test_the_time_that_a_rollout_is_said_to_take_is_the_time_it_takes() -> None:
    """The window of `until` brings the execution, and none before it."""
    the_world = rollout_not_there()
    until_s = the_world.why()["until"]
    the_world.advance(int(until_s * 1000) - the_world.now_ms - 1)
    assert the_world.why()["verdict"] == "ROLLOUT_NOT_THERE"
    the_world.advance(1)
    assert the_world.why()["verdict"] == "NOT_SEEN"


def test_a_device_that_was_never_heard_of_is_said_to_be_so() -> None:
    """Beside a broker that is not ours nothing else is known of it."""
    found = queued().why()
    assert found["explanation"] == "the device has not been heard of"
    assert "since" not in found


def test_without_a_job_all_that_a_thing_has_to_do_is_explained() -> None:
    """What is pending in the order of the queue, then what may still come; what has ended is left out."""
    the_world = behind()
    the_world.create_job("done")
    the_world.update("T", "done", "SUCCEEDED")
    the_world.create_job("later", schedulingConfig={"startTime": str(START_S + 3600)})
    reply = the_world.control("ExplainExecution", thingName="T")
    assert [(each["jobId"], each["verdict"]) for each in reply["explanations"]] == [
        ("first", "RUNNING"),
        ("second", "BEHIND"),
        ("j", "BEHIND"),
        ("later", "NOT_BEGUN"),
    ]
    thing = reply["thing"]
    assert (thing["connected"], thing["connectedSince"], thing["lastSeenAt"]) == (True, START_S, START_S)


def test_what_is_not_there_is_not_found() -> None:
    """A thing or a job that nobody knows."""
    the_world = World("T")
    for members in ({"thingName": "X"}, {"thingName": "T", "jobId": "none"}):
        answer, *_ = the_world.call("ExplainExecution", members)
        assert answer.body["code"] == "ResourceNotFoundException"
