"""ExplainExecution: the counts and times in its answers, exactly."""

from tests.broker.core.test_why import ONE_A_MINUTE, behind, world
from tests.broker.core.world import MINUTE_MS


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
