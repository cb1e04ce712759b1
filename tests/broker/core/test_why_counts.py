"""ExplainExecution: the counts and times in its answers, exactly."""

from typing import Any

import pytest

from tests.broker.core.groups import numbered
from tests.broker.core.test_why import ONE_A_MINUTE, PresenceWorld, behind, world
from tests.broker.core.world import MINUTE_MS, START_S
from thingjobs_broker.core.ports import Rules


def test_only_those_who_come_before_and_have_none_are_counted() -> None:
    """Of two targets: who has had a turn is not ahead, nor who comes again."""
    the_world = world("A", "B", "C", "D", "T")
    the_world.group("g", "A", "B", "C")
    the_world.group("h", "B", "D", "T")
    for job_id, targets in (("j", ("g", "h")), ("k", ("h", "g"))):
        the_world.create_job(job_id, *targets, jobExecutionsRolloutConfig=ONE_A_MINUTE)
    assert [the_world.why(job_id=job)["ahead"] for job in ("j", "k")] == [3, 1]
    the_world.advance(MINUTE_MS)
    assert [the_world.why(job_id=job)["ahead"] for job in ("j", "k")] == [2, 0]


def test_who_waits_in_a_queue_counts_those_before_it_alone() -> None:
    """Each place by its own number: what runs, then the queue in its order; not what comes later."""
    the_world = behind()
    the_world.create_job("last")
    assert [the_world.why(job_id=job)["before"] for job in ("second", "j", "last")] == [1, 2, 3]


def test_a_job_of_a_namespace_is_behind_those_of_its_namespace_alone() -> None:
    """Control plane 1.7: plain jobs neither hold it up nor are counted, nor the other way round."""
    the_world = behind()
    for job_id in ("ns-1", "ns-2"):
        the_world.create_job(job_id, namespaceId="ns")
    found = the_world.why(job_id="ns-2")
    assert (found["verdict"], found["behind"], found["before"]) == ("BEHIND", "ns-1", 1)
    assert the_world.why(job_id="ns-1")["verdict"] == "IN_NAMESPACE"
    assert the_world.why(job_id="j")["before"] == 2


def test_an_exponential_rollout_is_there_when_it_is_said_to_be() -> None:
    """V2: 1, 1, 2, 3 a minute; every place is reached in the minute that is told, not in the one before."""
    rate = {
        "baseRatePerMinute": 1,
        "incrementFactor": 2,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 2},
    }
    names = [f"A{number}" for number in range(12)]
    for ahead in range(1, 12):
        the_world = world(*names[:ahead], "T")
        config = {"maximumPerMinute": 3, "exponentialRate": rate}
        the_world.create_job("j", *names[:ahead], "T", jobExecutionsRolloutConfig=config)
        until_ms = int(the_world.why()["until"] * 1000)
        the_world.advance(until_ms - the_world.now_ms - 1)
        assert the_world.why()["verdict"] == "ROLLOUT_NOT_THERE"
        the_world.advance(1)
        assert the_world.why()["verdict"] != "ROLLOUT_NOT_THERE"


def foretold(the_world: PresenceWorld, *waits_ms: int) -> tuple[list[float], float]:
    """What `until` says at the beginning and after each wait; then when the execution really comes."""
    told = [the_world.why()["until"]]
    for wait_ms in waits_ms:
        the_world.advance(wait_ms)
        told.append(the_world.why()["until"])
    while the_world.why()["verdict"] in ("ROLLOUT_NOT_THERE", "WINDOW_CLOSED"):
        before_ms = the_world.now_ms
        due_ms = the_world.service.next_deadline_ms()
        assert due_ms is not None
        the_world.advance(max(due_ms - before_ms, 0))
    return told, the_world.now_ms / 1000 - START_S


def test_what_is_foretold_within_a_minute_does_not_move() -> None:
    """At three a minute the eighth comes in the third window, whenever one asks (V1)."""
    the_world = world(*numbered(7), "T")
    the_world.group("g", *numbered(7))
    the_world.create_job("j", "g", "T", jobExecutionsRolloutConfig={"maximumPerMinute": 3})
    told, came = foretold(the_world, 20_000, 39_999, 1, 59_999)
    assert (told, came) == ([START_S + 120] * 5, 120)


def test_what_has_succeeded_speeds_up_what_is_foretold() -> None:
    """One a minute, doubled by a success: 1, 2, 2, then the sixth (V3)."""
    the_world = world(*numbered(5), "T")
    the_world.group("g", *numbered(5))
    criteria = {"numberOfSucceededThings": 1}
    rate = {"baseRatePerMinute": 1, "incrementFactor": 2, "rateIncreaseCriteria": criteria}
    config = {"maximumPerMinute": 2, "exponentialRate": rate}
    the_world.create_job("j", "g", "T", jobExecutionsRolloutConfig=config)
    assert the_world.why()["until"] == START_S + 300
    the_world.update("T00000", "j", "SUCCEEDED")
    told, came = foretold(the_world, 10_000)
    assert (told, came) == ([START_S + 180] * 2, 180)


def slices(place: int, config: dict[str, Any], rules: Rules | None = None) -> PresenceWorld:
    """A rollout between two slices of its first minute: 250 things have had their turn."""
    the_world = world(*numbered(700), "T", rules=rules, checked=False)
    the_world.group("g", *numbered(place))
    the_world.group("later", *numbered(700)[place:])
    the_world.create_job("j", "g", "T", "later", jobExecutionsRolloutConfig=config)
    assert the_world.made("j") == 250
    return the_world


@pytest.mark.parametrize(("place", "minute"), [(250, 0), (299, 0), (300, 1), (599, 1), (600, 2)])
def test_what_a_minute_still_allows_comes_at_once(place: int, minute: int) -> None:
    """Of 300 a minute 250 have gone: fifty are left for now."""
    the_world = slices(place, {"maximumPerMinute": 300})
    assert foretold(the_world) == ([START_S + 60 * minute], 60 * minute)


def test_what_a_minute_still_allows_counts_for_the_next_rate() -> None:
    """300, then doubled as 300 are notified: the 651st comes in the second minute."""
    criteria = {"numberOfNotifiedThings": 300}
    rate = {"baseRatePerMinute": 300, "incrementFactor": 2, "rateIncreaseCriteria": criteria}
    the_world = slices(650, {"maximumPerMinute": 1000, "exponentialRate": rate})
    assert foretold(the_world) == ([START_S + 60], 60)


@pytest.mark.parametrize(("per_minute", "minute"), [(None, 0), (260, 2)])
def test_the_services_own_rate_is_that_of_a_job_without_one(per_minute: int | None, minute: int) -> None:
    """As fast as possible, or as the service's rules say."""
    the_world = slices(650, {}, Rules(rollout_per_minute=per_minute))
    assert foretold(the_world) == ([START_S + 60 * minute], 60 * minute)


def test_a_maintenance_window_that_closes_is_foreseen() -> None:
    """22:13:20 to 22:15 and from 22:20 on; meanwhile the clock of minutes stands (control plane 3.3)."""
    windows = [{"startTime": "cron(0/10 * * * ? *)", "durationInMinutes": 5}]
    the_world = world(*numbered(3), "T")
    the_world.group("g", *numbered(3))
    the_world.group("h", "T")
    the_world.create_job(
        "j",
        *("g", "h"),
        targetSelection="CONTINUOUS",
        jobExecutionsRolloutConfig=ONE_A_MINUTE,
        schedulingConfig={"maintenanceWindows": windows},
    )
    told, came = foretold(the_world, 50_000, 49_000)
    # After 100 s, of which 40 are in the second minute; 20 s and one more minute after 22:20.
    assert (told, came) == ([START_S + 400 + 80] * 3, 480)
