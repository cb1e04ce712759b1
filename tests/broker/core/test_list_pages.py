"""Pages of the lists that keep an order of their own: whole, stable, as cheap at the end as at first."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.world import only
from thingjobs_broker.core import histories
from thingjobs_broker.core.paging import token_of
from thingjobs_broker.core.records import GroupCreated, JobCreated, ThingGroupsChanged, ThingTypeCreated

ARN = "arn:aws:iot:local:000000000000:"


def pages(world: GroupWorld, operation: str, **members: Any) -> Iterator[list[Any]]:
    """Every page; what is done between two of them is done to the world."""
    token: dict[str, str] = {}
    while True:
        answer = world.control(operation, **members, **token)
        [(_, entries)] = [item for item in answer.items() if item[0] != "nextToken"]
        yield entries
        if "nextToken" not in answer:
            return
        token = {"nextToken": answer["nextToken"]}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 50])
def test_pages_of_members_are_the_members(size: int) -> None:
    """ListThingsInThingGroup: each page but the last is full, and no page follows the last name."""
    world = GroupWorld(*numbered(5))
    world.group("G", *numbered(5))
    found = list(pages(world, "ListThingsInThingGroup", thingGroupName="G", maxResults=size))
    assert found == [numbered(5)[first : first + size] for first in range(0, 5, size)]


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("ListThings", {}),
        ("ListThingTypes", {}),
        ("ListThingGroups", {}),
        ("ListThingGroups", {"recursive": False}),
        ("ListThingsInThingGroup", {"thingGroupName": "T00000"}),
        ("ListJobTemplates", {}),
    ],
)
def test_a_page_has_50_entries_where_nobody_says_how_many(operation: str, members: dict[str, Any]) -> None:
    """Control plane 1.6, A21."""
    world = GroupWorld(*numbered(51))
    for name in numbered(51):
        world.group(name)
        world.control("CreateThingType", thingTypeName=name)
        world.control("CreateJobTemplate", jobTemplateId=name, description="d", document="{}")
    for name in numbered(51):
        world.put(ThingGroupsChanged(name, world.now_ms, "test", ["id-of-T00000"], []))
    assert [len(page) for page in pages(world, operation, **members)] == [50, 1]


def forest() -> GroupWorld:
    """Two trees whose groups were made in turn."""
    world = GroupWorld()
    for name, parent in (
        *(("a", ""), ("b", ""), ("a1", "a"), ("b1", "b"), ("a2", "a"), ("a1x", "a1"), ("b2", "b")),
        *(("a1y", "a1"), ("a2x", "a2"), ("c", ""), ("a3", "a")),
    ):
        world.group(name, parent=parent)
    return world


LISTED: list[tuple[dict[str, Any], str]] = [
    ({}, "a b a1 b1 a2 a1x b2 a1y a2x c a3"),
    ({"recursive": False}, "a b c"),
    ({"parentGroup": "a"}, "a1 a1x a1y a2 a2x a3"),
    ({"parentGroup": "a", "recursive": True}, "a1 a1x a1y a2 a2x a3"),
    ({"parentGroup": "a", "recursive": False}, "a1 a2 a3"),
    ({"parentGroup": "a", "namePrefixFilter": "a1"}, "a1 a1x a1y"),
    ({"parentGroup": "a2x"}, ""),
]


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize(("members", "listed"), LISTED)
def test_pages_of_groups_are_the_list(members: dict[str, Any], listed: str, size: int) -> None:
    """ListThingGroups, A20: nothing twice, nothing skipped, also after a restart."""
    world = forest()
    for _ in range(2):
        found = list(pages(world, "ListThingGroups", maxResults=size, **members))
        assert [one["groupName"] for page in found for one in page] == listed.split()
        assert all(len(page) == size for page in found[:-1])
        world.restart()


def test_groups_that_come_and_go_move_no_page() -> None:
    """Keyset order: the group behind which a page goes on may be gone, with those above it."""
    world = forest()
    found = []
    for number, page in enumerate(pages(world, "ListThingGroups", parentGroup="a", maxResults=2)):
        found += [one["groupName"] for one in page]
        if number == 0:  # a1 and a1x are listed.
            for name in ("a1x", "a1y", "a1"):
                world.control("DeleteThingGroup", thingGroupName=name)
            world.control("CreateThingGroup", thingGroupName="a4", parentGroupName="a")
    assert found == ["a1", "a1x", "a2", "a2x", "a3", "a4"]


def with_jobs(count: int) -> GroupWorld:
    world = GroupWorld("T")
    for number in range(count):
        world.put(
            JobCreated(
                *(f"J{number:05}", world.now_ms, "test", [f"{ARN}thing/T"], "SNAPSHOT", "{}", "", {}),
                *("IN_PROGRESS", False),
            )
        )
    return world


def listed(world: GroupWorld, size: int = 3, **members: Any) -> list[tuple[str, int]]:
    return [
        (one["jobId"], one["jobExecutionSummary"]["executionNumber"])
        for page in pages(world, "ListJobExecutionsForThing", thingName="T", maxResults=size, **members)
        for one in page
    ]


@pytest.mark.parametrize("few", [256, 2])
def test_the_executions_of_a_thing_are_listed_as_they_were_created(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few of them and with many, of one job or of all, retries in their place; after deletions and
    restarts too.
    """
    monkeypatch.setattr(histories, "FEW_MAX", few)
    world = GroupWorld("T")
    retry = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 9}]}
    for job_id in "CABDE":
        world.create_job(job_id, jobExecutionsRetryConfig=retry)
    for job_id in "ACAAC":
        world.update("T", job_id, "FAILED")
    whole = [*((job_id, 1) for job_id in "CABDE"), ("A", 2), ("C", 2), ("A", 3), ("A", 4), ("C", 3)]
    assert ("T" in world.state.orders.histories) == (few == 2)
    assert listed(world) == whole
    assert listed(world, jobId="A") == [("A", number) for number in (1, 2, 3, 4)]
    assert listed(world, status="FAILED") == [("C", 1), ("A", 1), ("A", 2), ("C", 2), ("A", 3)]
    for job_id, number in (("A", 2), ("B", 1)):
        execution = {"jobId": job_id, "thingName": "T", "executionNumber": number}
        world.control("DeleteJobExecution", **execution)
        whole.remove((job_id, number))
    world.restart()
    assert listed(world) == whole
    assert ("T" in world.state.orders.histories) == (few == 2)
    world.control("DeleteThing", thingName="T")
    world.control("CreateThing", thingName="T")
    assert listed(world, 1) == whole
    for job_id in "CABDE":
        world.control("DeleteJob", jobId=job_id, force=True)
        world.advance(1000)
    assert listed(world) == []
    assert world.state.orders.histories == {}


@pytest.mark.parametrize("place", ["x", "1/x", "1.5", "ü"])
def test_a_place_that_is_none_is_refused(place: str) -> None:
    """A token of another list: InvalidRequest, no crash."""
    world = forest()
    token = token_of(place, (None, "", "True"))
    assert only(world.call("ListThingGroups", {"nextToken": token}))["code"] == "InvalidRequestException"


def cost(world: GroupWorld, operation: str, token: str | None, **members: Any) -> float:
    """The processor time of a page, in seconds: the best of some."""
    more = {} if token is None else {"nextToken": token}
    best = 1.0
    for _ in range(7):
        before = time.process_time()
        world.control(operation, maxResults=50, **members, **more)
        best = min(best, time.process_time() - before)
    return best


COUNT = 10_000


def many_groups() -> GroupWorld:
    world = GroupWorld(checked=False)
    world.group("root")
    parent = world.state.group_ids["root"]
    for name in numbered(COUNT):
        world.put(GroupCreated(name, f"id-{name}", world.now_ms, "test", parent, "", {}))
    return world


def many_types() -> GroupWorld:
    world = GroupWorld(checked=False)
    for name in numbered(COUNT):
        world.put(ThingTypeCreated(name, f"id-{name}", world.now_ms, "test", {}))
    return world


def many_executions() -> GroupWorld:
    world = with_jobs(COUNT)
    world.checked = False
    for job_id in list(world.state.jobs):
        world.service._agenda.put(job_id, 0)
    world.advance(1000)
    assert len(world.state.things["T"].executions) == COUNT
    return world


@pytest.mark.parametrize(
    ("world", "operation", "members", "filters", "place"),
    [
        (many_groups, "ListThingGroups", {}, (None, "", "True"), f"{COUNT - 30}"),
        (many_groups, "ListThingGroups", {"parentGroup": "root"}, ("root", "", "True"), f"{COUNT - 30}"),
        (many_types, "ListThingTypes", {}, ("",), f"{COUNT - 50}"),
        (many_groups, "ListNames", {"kind": "group"}, ("group", ""), f"{COUNT - 30}"),
        (many_types, "ListNames", {"kind": "type"}, ("type", ""), f"{COUNT - 50}"),
        (
            *(many_executions, "ListJobExecutionsForThing", {"thingName": "T"}),
            *(("T", None, None, None), f"{COUNT - 50}"),
        ),
    ],
    ids=["groups", "groups below one", "types", "names of groups", "names of types", "executions"],
)
def test_a_page_costs_the_same_wherever_it_lies(
    world: Any, operation: str, members: dict[str, Any], filters: tuple[str | None, ...], place: str
) -> None:
    """In processor time, within one process: the first page and the last of ten thousand entries."""
    the_world = world()
    first = cost(the_world, operation, None, **members)
    last = cost(the_world, operation, token_of(place, filters), **members)
    assert last < 4 * first + 0.0005
    assert first < 0.02  # Sorting or copying them all would take longer.
