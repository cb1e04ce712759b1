"""PreviewJob: what a job would do is told, and nothing is done."""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.test_why import PresenceWorld
from tests.broker.core.world import DOCUMENT, MINUTE_MS, START_MS, START_S, picture
from thingjobs_broker.cli.previewed import merged
from thingjobs_broker.core import preview_walk
from thingjobs_broker.core.forecast import followed
from thingjobs_broker.core.paging import token_of
from thingjobs_broker.core.ports import Presence, Rules
from thingjobs_broker.core.rollout import RolloutConfig
from thingjobs_broker.core.schedule import MaintenanceWindow, SchedulingConfig, compiled

TEN_A_MINUTE = {"maximumPerMinute": 10}


def preview(world: GroupWorld, *targets: str, **members: Any) -> dict[str, Any]:
    """The answer; state and journal are as before, and nothing but the answer was sent."""
    before = picture(world.state)
    body: dict[str, Any] = {"targets": targets, "document": DOCUMENT, "maxResults": 20} | members
    pages: list[dict[str, Any]] = []
    while not pages or "nextToken" in body:
        answer, *others = world.call("PreviewJob", body)
        assert (others, world.records, picture(world.state)) == ([], [], before)
        assert answer.ending == "accepted", answer
        pages.append(answer.body)
        body.pop("nextToken", None)
        body |= {name: answer.body[name] for name in ("nextToken",) if name in answer.body}
    return merged(pages, body["maxResults"])


def test_everybody_who_would_get_an_execution_is_counted_once_and_named_in_order() -> None:
    """The order of the targets; only so many names (control plane 3.3, "Order")."""
    world = GroupWorld(*numbered(30), "Z")
    world.group("g", *numbered(30))
    found = preview(world, "Z", "g", maxResults=3)
    assert found["targeted"] == {"count": 31, "names": ["Z", "T00000", "T00001"]}
    assert [each["things"] for each in found["targets"]] == [1, 30]
    assert found["excluded"] == []


def test_who_is_left_out_is_told_with_the_reason() -> None:
    """A thing reached twice, and a group of nobody."""
    world = GroupWorld("A", "B")
    world.group("g", "A", "B")
    world.group("empty")
    found = preview(world, "A", "g", "empty")
    assert found["targeted"]["names"] == ["A", "B"]
    assert {each["reason"]: each["names"] for each in found["excluded"]} == {
        "reached by several targets; a thing gets one execution": ["A"],
        "the group has no things": ["empty"],
    }


@pytest.mark.parametrize("looks_max", [1, 2, 3, 7])
def test_pages_of_any_length_tell_the_same(looks_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page looks at so many things, wherever that ends it; what is told of all of them is one preview."""
    world = GroupWorld(*numbered(9), "A", "Z")
    world.group("g", *numbered(5), "Z")
    world.group("empty")
    world.group("above")
    world.group("h", "A", *numbered(9)[4:], parent="above")
    targets = ("Z", "g", "empty", "above", "A", "Z")
    members: dict[str, Any] = {
        "jobExecutionsRolloutConfig": {"maximumPerMinute": 2},
        "schedulingConfig": {"endTime": str(START_S + 1800)},
    }
    whole = preview(world, *targets, **members)
    assert whole["targeted"]["count"] == 11
    monkeypatch.setattr(preview_walk, "LOOKS_MAX", looks_max)
    assert preview(world, *targets, **members) == whole
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"})
    found = preview(world, queryString="thingName:T*")
    assert found["targeted"] == {"count": 9, "names": numbered(9)}
    assert found["targets"] == [{"target": "thingName:T*", "things": 9}]


def test_whom_end_time_leaves_out_is_the_same_on_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """31 minutes at one a minute reach 30 of 40, wherever pages end."""
    monkeypatch.setattr(preview_walk, "LOOKS_MAX", 7)
    world = GroupWorld(*numbered(40))
    world.group("g", *numbered(40))
    rate, end = {"maximumPerMinute": 1}, {"endTime": str(START_S + 1800)}
    found = preview(world, "g", jobExecutionsRolloutConfig=rate, schedulingConfig=end)
    assert found["excluded"] == [
        {"reason": "endTime comes before their turn", "count": 10, "names": numbered(40)[30:]}
    ]


def test_a_query_is_looked_up_by_the_service_as_a_search_is() -> None:
    """Instead of targets, not beside them; what SearchIndex refuses is refused."""
    world = GroupWorld("A")
    asked: dict[str, Any] = {"document": DOCUMENT, "queryString": "thingName:A"}
    index = {"thingIndexingMode": "REGISTRY"}
    for body, code in [
        (asked, "ResourceNotFoundException"),
        (asked | {"targets": ["A"]}, "InvalidRequestException"),
        ({"document": DOCUMENT}, "InvalidRequestException"),
    ]:
        answer, *_ = world.call("PreviewJob", body)
        assert (answer.ending, answer.body["code"]) == ("rejected", code)
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=index)
    answer, *_ = world.call("PreviewJob", asked | {"queryString": "thingName:("})
    assert answer.body["code"] == "InvalidQueryException"
    assert preview(world, queryString="thingName:B")["targeted"]["count"] == 0


def test_a_token_that_leads_nowhere_is_refused() -> None:
    """Made up, or of another request."""
    world = GroupWorld("A")
    for token in ("x", token_of("-1 0 0 ", (None, "A")), token_of("0 0 0 ", (None, "B"))):
        body = {"targets": ["A"], "document": DOCUMENT, "nextToken": token}
        answer, *_ = world.call("PreviewJob", body)
        assert (answer.ending, answer.body["code"]) == ("rejected", "InvalidRequestException")


def test_who_will_have_to_wait_is_told_with_the_reason() -> None:
    """A device that is away, and one that has other jobs to do."""
    world = PresenceWorld("A", "B", "C")
    world.presence["A"] = Presence(is_connected=False)
    world.create_job("j", "A", "B")
    waiting = {each["reason"]: each["names"] for each in preview(world, "A", "B", "C")["waiting"]}
    assert waiting == {"not connected": ["A"], "has other jobs to do first": ["B"]}


def test_a_job_of_a_namespace_waits_for_what_is_in_its_namespace_alone() -> None:
    """Control plane 1.7: each namespace has a queue of its own, and the plain jobs have theirs."""
    world = GroupWorld("A", "B")
    world.create_job("plain", "A")
    world.create_job("ours", "B", namespaceId="ns")
    for namespace, who in (({"namespaceId": "ns"}, ["B"]), ({"namespaceId": "other"}, None), ({}, ["A"])):
        waiting = {each["reason"]: each["names"] for each in preview(world, "A", "B", **namespace)["waiting"]}
        assert waiting.get("has other jobs to do first") == who


@pytest.mark.parametrize(
    ("things", "config", "minutes"),
    [(25, TEN_A_MINUTE, 2), (10, TEN_A_MINUTE, 0), (11, TEN_A_MINUTE, 1), (0, TEN_A_MINUTE, 0)],
)
def test_the_rollout_takes_as_long_as_it_is_said_to(
    things: int, config: dict[str, int], minutes: int
) -> None:
    """V1: 25 things at 10 a minute are through at +120 s, and the real job agrees."""
    world = GroupWorld(*numbered(things))
    world.group("g", *numbered(things))
    found = preview(world, "g", jobExecutionsRolloutConfig=config)["rollout"]
    assert (found["minutes"], found["startsAt"], found["endsAt"]) == (
        minutes,
        START_S,
        START_S + 60 * minutes,
    )
    if things:
        world.create_job("j", "g", jobExecutionsRolloutConfig=config)
        world.advance(minutes * MINUTE_MS - 1) if minutes else None
        assert world.made("j") < things or not minutes
        world.advance(1)
        assert world.made("j") == things


def test_an_exponential_rollout_takes_what_the_golden_vector_takes() -> None:
    """V2: 20 things, base 1, factor 2, every 2, at most 3: nine minutes of windows."""
    world = GroupWorld(*numbered(20))
    world.group("g", *numbered(20))
    rate = {
        "baseRatePerMinute": 1,
        "incrementFactor": 2,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 2},
    }
    config = {"maximumPerMinute": 3, "exponentialRate": rate}
    found = preview(world, "g", jobExecutionsRolloutConfig=config)["rollout"]
    assert (found["perMinute"], found["minutes"]) == (1, 8)


def test_a_rollout_pauses_while_its_window_is_closed() -> None:
    """90 minutes of work in windows of an hour at 22:00: from 22:13 to 23:00, then 43 minutes a day later."""
    windows = [MaintenanceWindow("cron(0 22 * * ? *)", 60)]
    its = compiled(SchedulingConfig(maintenance_windows=windows))
    found = followed(its, RolloutConfig(maximum_per_minute=1), 91, START_MS, unset_per_minute=None)
    today_ms = 46 * MINUTE_MS + 40_000
    tomorrow_ms = START_MS + 24 * 60 * MINUTE_MS - 13 * MINUTE_MS - 20_000
    assert found == (START_MS, tomorrow_ms + 90 * MINUTE_MS - today_ms, 91)


def test_whom_end_time_leaves_out_is_told() -> None:
    """31 minutes at one a minute reach 30 of 40 (control plane 6.2: the others never get one)."""
    world = GroupWorld(*numbered(40))
    world.group("g", *numbered(40))
    members: dict[str, Any] = {
        "jobExecutionsRolloutConfig": {"maximumPerMinute": 1},
        "schedulingConfig": {"endTime": str(START_S + 1800)},
    }
    (excluded,) = preview(world, "g", **members, maxResults=2)["excluded"]
    assert excluded == {
        "reason": "endTime comes before their turn",
        "count": 10,
        "names": ["T00030", "T00031"],
    }
    world.create_job("j", "g", **members)
    world.advance(60 * MINUTE_MS)
    assert world.made("j") == 30


@pytest.mark.parametrize(("things", "minutes"), [(59, 58), (60, 59), (61, 24 * 60), (62, 24 * 60 + 1)])
def test_the_minute_in_which_a_window_closes_is_not_in_it(things: int, minutes: int) -> None:
    """One a minute in a window of an hour: the 60th comes in its last minute, the 61st a day later (6.3)."""
    its = compiled(SchedulingConfig(maintenance_windows=[MaintenanceWindow("cron(0 23 * * ? *)", 60)]))
    opening_ms = START_MS + 46 * MINUTE_MS + 40_000
    found = followed(its, RolloutConfig(maximum_per_minute=1), things, START_MS, unset_per_minute=None)
    assert found == (opening_ms, opening_ms + minutes * MINUTE_MS, things)


def test_what_is_told_of_windows_and_an_exponential_rate_comes_true() -> None:
    """1, 1, 2, 3, 3 a minute (V2) in windows of two minutes, minute by minute as the job itself goes."""
    rate = {
        "baseRatePerMinute": 1,
        "incrementFactor": 2,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 2},
    }
    config = {"maximumPerMinute": 3, "exponentialRate": rate}
    windows = [{"startTime": "cron(0/10 * * * ? *)", "durationInMinutes": 2}]
    for things in range(1, 12):
        world = GroupWorld(*numbered(things))
        world.group("g", *numbered(things))
        members: dict[str, Any] = {
            "targetSelection": "CONTINUOUS",
            "jobExecutionsRolloutConfig": config,
            "schedulingConfig": {"maintenanceWindows": windows},
        }
        ends_at = preview(world, "g", **members)["rollout"]["endsAt"]
        world.create_job("j", "g", **members)
        world.advance(int(ends_at * 1000) - world.now_ms - 1)
        assert world.made("j") < things
        world.advance(1)
        assert world.made("j") == things


def test_whom_end_time_leaves_out_under_an_exponential_rate_is_told() -> None:
    """As many as the job itself leaves out: half an hour at 1, 1, 2, 2, 3 ... a minute."""
    rate = {
        "baseRatePerMinute": 1,
        "incrementFactor": 1.5,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 10},
    }
    names = numbered(200)
    world = GroupWorld(*names)
    world.group("g", *names)
    members: dict[str, Any] = {
        "jobExecutionsRolloutConfig": {"maximumPerMinute": 1000, "exponentialRate": rate},
        "schedulingConfig": {"endTime": str(START_S + 1800)},
    }
    (excluded,) = preview(world, "g", **members)["excluded"]
    world.create_job("j", "g", **members)
    world.advance(60 * MINUTE_MS)
    assert 30 < world.made("j") < 200
    assert excluded["count"] == 200 - world.made("j")


def test_a_job_that_would_be_refused_is_refused() -> None:
    """By the checks of CreateJob: id taken, target unknown, schedule too early, template missing."""
    world = GroupWorld("T")
    world.create_job("j")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"jobId": "j"}, "ResourceAlreadyExistsException"),
        ({"targets": ["nobody"]}, "ResourceNotFoundException"),
        ({"targets": []}, "InvalidRequestException"),
        ({"schedulingConfig": {"startTime": str(START_S + 600)}}, "InvalidRequestException"),
        (
            {"jobTemplateArn": "arn:aws:iot:local:000000000000:jobtemplate/x"},
            "ResourceNotFoundException",
        ),
    ]
    for members, code in refused:
        body = {"targets": ["T"], "document": DOCUMENT} | members
        if "jobTemplateArn" in members:
            del body["document"]
        answer, *_ = world.call("PreviewJob", body)
        assert (answer.ending, answer.body["code"]) == ("rejected", code)


def test_the_targets_of_a_query_may_be_more_than_a_job_can_name() -> None:
    """A query becomes a group; until then it is only the names that it found."""
    world = GroupWorld(*numbered(230))
    assert preview(world, *numbered(230))["targeted"]["count"] == 230


def test_a_service_without_a_limit_takes_no_time() -> None:
    """Rules: no rate is as fast as possible."""
    world = GroupWorld(*numbered(2000), rules=Rules(rollout_per_minute=None), checked=False)
    world.group("g", *numbered(2000))
    found = preview(world, "g")["rollout"]
    assert "perMinute" not in found
    assert found["minutes"] == 0


def test_a_rollout_under_way_is_done_when_it_is_said_to_be() -> None:
    """Asked at any time it tells the same end, and the end comes true (V1)."""
    world = GroupWorld(*numbered(25))
    world.group("g", *numbered(25))
    world.create_job("j", "g", jobExecutionsRolloutConfig=TEN_A_MINUTE)
    for notified, wait_ms in [(10, 30_000), (10, 31_000), (20, 58_999)]:
        found = world.control("DescribeJobRollout", jobId="j")
        assert (found["notified"], found["things"], found["isDone"]) == (notified, 25, False)
        assert (found["endsAt"], found["perMinute"]) == (START_S + 120, 10)
        world.advance(wait_ms)
    assert world.control("DescribeJobRollout", jobId="j")["notified"] == 20
    world.advance(1)
    assert world.control("DescribeJobRollout", jobId="j") == {"isDone": True, "things": 25, "notified": 25}


def test_a_rollout_under_way_tells_the_same_end_while_its_window_is_closed() -> None:
    """The clock of its minutes stands still then (control plane 3.3): 100 s, then the rest from 22:20 on."""
    world = GroupWorld(*numbered(4))
    world.group("g", *numbered(4))
    world.create_job(
        "j",
        "g",
        targetSelection="CONTINUOUS",
        jobExecutionsRolloutConfig={"maximumPerMinute": 1},
        schedulingConfig={
            "maintenanceWindows": [{"startTime": "cron(0/10 * * * ? *)", "durationInMinutes": 5}]
        },
    )
    for wait_ms in (0, 70_000, 60_000, 200_000, 100_000):
        world.advance(wait_ms)
        assert world.control("DescribeJobRollout", jobId="j")["endsAt"] == START_S + 480
    world.advance(50_000)
    assert world.control("DescribeJobRollout", jobId="j")["isDone"]


def test_a_rollout_between_two_slices_of_a_minute_goes_on_at_once() -> None:
    """Without a limit all the rest is due now; with one what the minute still allows."""
    for rate, wait_s in ((None, 0), (300, 60)):
        world = GroupWorld(*numbered(600), rules=Rules(rollout_per_minute=rate), checked=False)
        world.group("g", *numbered(600))
        world.create_job("j", "g")
        assert (world.made("j"), world.control("DescribeJobRollout", jobId="j")["endsAt"]) == (
            250,
            START_S + wait_s,
        )
        world.advance(1000 * wait_s)
        assert world.made("j") == 600


@pytest.mark.parametrize(("things", "per_minute"), [(400, 600), (499, 600), (500, 1000), (550, 1000)])
def test_the_rate_that_is_told_is_that_after_the_minute_under_way(things: int, per_minute: int) -> None:
    """600 are allowed in it; the rate rises if at least 500 are there to come (control plane 3.2)."""
    world = GroupWorld(*numbered(things), checked=False)
    world.group("g", *numbered(things))
    criteria = {"numberOfNotifiedThings": 500}
    rate = {"baseRatePerMinute": 600, "incrementFactor": 2, "rateIncreaseCriteria": criteria}
    world.create_job("j", "g", jobExecutionsRolloutConfig={"exponentialRate": rate})
    assert world.made("j") == 250
    assert world.control("DescribeJobRollout", jobId="j")["perMinute"] == per_minute


def test_a_rollout_that_has_not_begun_tells_when_it_will() -> None:
    """At its start time, and then for as long as its rate takes."""
    world = GroupWorld(*numbered(25))
    world.group("g", *numbered(25))
    start_s = START_S + 3600
    schedule = {"startTime": str(start_s)}
    world.create_job("j", "g", jobExecutionsRolloutConfig=TEN_A_MINUTE, schedulingConfig=schedule)
    found = world.control("DescribeJobRollout", jobId="j")
    assert (found["startsAt"], found["endsAt"], found["notified"]) == (start_s, start_s + 120, 0)


def test_an_exponential_rollout_under_way_is_followed_from_where_it_is() -> None:
    """V2: 20 things are through after eight minutes, also as seen from the fourth."""
    world = GroupWorld(*numbered(20))
    world.group("g", *numbered(20))
    rate = {
        "baseRatePerMinute": 1,
        "incrementFactor": 2,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 2},
    }
    config = {"maximumPerMinute": 3, "exponentialRate": rate}
    world.create_job("j", "g", jobExecutionsRolloutConfig=config)
    for _ in range(8):
        assert world.control("DescribeJobRollout", jobId="j")["endsAt"] == START_S + 8 * 60
        world.advance(MINUTE_MS)
    assert world.control("DescribeJobRollout", jobId="j")["isDone"]
