"""Who is in which thing group, directly and through groups below (control plane 1.8, V15)."""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.test_control_groups import refused
from tests.broker.core.world import endings
from thingjobs_broker.core.ports import Rules

ARN = "arn:aws:iot:local:000000000000:"


def groups_of(world: GroupWorld, thing_name: str) -> list[str]:
    """What ListThingGroupsForThing lists."""
    listed = world.control("ListThingGroupsForThing", thingName=thing_name)["thingGroups"]
    return [group["groupName"] for group in listed]


def family() -> GroupWorld:
    """Two roots, one with two groups below it."""
    world = GroupWorld(*numbered(3))
    world.group("up")
    world.group("left", parent="up")
    world.group("right", parent="up")
    world.group("other")
    return world


def test_v15_a_thing_below_a_targeted_parent_gets_one_execution() -> None:
    """V15: targets: the parent, and the child that holds the only thing."""
    world = family()
    world.join("T00000", "left")
    world.create_job("J1", "up", "left")
    assert [one and one.thing_name for one in world.job("J1").executions] == ["T00000"]


@pytest.mark.parametrize(
    "members",
    [
        {"thingName": "T00000", "thingGroupName": "left"},
        {"thingArn": f"{ARN}thing/T00000", "thingGroupArn": f"{ARN}thinggroup/left"},
        {
            "thingName": "T00000",
            "thingArn": f"{ARN}thing/T00000",
            "thingGroupName": "left",
            "thingGroupArn": f"{ARN}thinggroup/left",
        },
    ],
)
def test_things_and_groups_are_named_plainly_or_by_arn(members: dict[str, str]) -> None:
    """Adding twice and removing twice are no errors (1.8)."""
    world = family()
    for operation, there in (("AddThingToThingGroup", ["left"]), ("RemoveThingFromThingGroup", [])):
        world.control(operation, **members)
        assert groups_of(world, "T00000") == there
        world.control(operation, **members)
        assert world.records == []
    world.restart()


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"thingGroupName": "left"}, "InvalidRequest"),
        ({"thingName": "T00000"}, "InvalidRequest"),
        (
            {"thingName": "T00000", "thingGroupName": "left", "thingGroupArn": f"{ARN}thinggroup/up"},
            "InvalidRequest",
        ),
        ({"thingName": "T00000", "thingGroupArn": f"{ARN}thing/left"}, "InvalidRequest"),
        ({"thingName": "X", "thingGroupName": "left"}, "ResourceNotFound"),
        ({"thingName": "T00000", "thingGroupName": "X"}, "ResourceNotFound"),
    ],
)
def test_bad_names_change_nothing(members: dict[str, str], code: str) -> None:
    """Neither identifier, two different ones, none of this service, unknown ones (1.8)."""
    assert refused(family(), "AddThingToThingGroup", **members)[0] == code
    assert refused(family(), "RemoveThingFromThingGroup", **members)[0] == code


def test_a_thing_is_in_one_group_of_a_hierarchy_and_in_ten_at_most() -> None:
    """InvalidRequest for both (1.8, 10)."""
    world = family()
    world.join("T00000", "left")
    code, message = refused(world, "AddThingToThingGroup", thingName="T00000", thingGroupName="up")
    assert code == "InvalidRequest"
    assert "hierarchy" in message
    for number in range(9):
        world.group(f"g{number}", "T00000")
    code, message = refused(world, "AddThingToThingGroup", thingName="T00000", thingGroupName="other")
    assert code == "InvalidRequest"
    assert message.startswith("Thing groups of thing T00000: 11; expected at most 10")


def test_a_full_thing_swaps_groups_in_one_request() -> None:
    """Removals come first, and it is all or nothing (1.8)."""
    world = family()
    for number in range(10):
        world.group(f"g{number}", "T00000")
    swap = {"thingName": "T00000", "thingGroupsToAdd": ["left"], "thingGroupsToRemove": ["g3"]}
    assert refused(world, "UpdateThingGroupsForThing", **swap | {"thingGroupsToRemove": []})[0]
    both = swap | {"thingGroupsToAdd": ["left", "right"], "thingGroupsToRemove": ["g3", "g4"]}
    assert refused(world, "UpdateThingGroupsForThing", **both)[0] == "InvalidRequest"
    same = swap | {"thingGroupsToRemove": ["left"]}
    assert refused(world, "UpdateThingGroupsForThing", **same)[0] == "InvalidRequest"
    world.control("UpdateThingGroupsForThing", **swap)
    assert groups_of(world, "T00000") == ["left", *(f"g{number}" for number in range(10) if number != 3)]


def test_moving_within_a_group_above_is_neither_joining_nor_leaving_it() -> None:
    """A CONTINUOUS job on the parent has nothing to do (2.5)."""
    world = family()
    world.join("T00000", "left")
    world.create_job("J1", "up", targetSelection="CONTINUOUS")
    world.create_job("J2", "left", targetSelection="CONTINUOUS")
    sent = world.call(
        "UpdateThingGroupsForThing",
        {"thingName": "T00000", "thingGroupsToAdd": ["right"], "thingGroupsToRemove": ["left"]},
    )
    assert endings(sent) == ["accepted", "notify", "removed"]
    assert list(world.thing("T00000").pending) == ["J1"]


def test_a_continuous_job_follows_groups_below_its_target() -> None:
    """Joining a child is joining the parent (1.5, 2.5)."""
    world = family()
    world.create_job("J1", "up", targetSelection="CONTINUOUS")
    assert endings(world.join("T00001", "right")) == ["notify", "notify-next"]
    assert endings(world.leave("T00001", "right")) == ["notify", "notify-next", "removed"]


def test_members_are_listed_by_name_in_pages() -> None:
    """Directly, or with recursive those below too; a token belongs to its request (1.6, 1.8)."""
    world = family()
    for thing_name, group_name in (("T00002", "left"), ("T00000", "right"), ("T00001", "up")):
        world.join(thing_name, group_name)

    def page(**members: Any) -> dict[str, Any]:
        return world.control("ListThingsInThingGroup", thingGroupName="up", **members)

    assert page() == {"things": ["T00001"]}
    assert page(recursive=True) == {"things": numbered(3)}
    first = page(recursive=True, maxResults=2)
    assert first["things"] == numbered(2)
    world.leave("T00000", "right")
    assert page(recursive=True, nextToken=first["nextToken"]) == {"things": ["T00002"]}
    assert page(recursive=True, maxResults=2) == {"things": ["T00001", "T00002"]}
    for token in (first["nextToken"], "nonsense"):
        members = {"thingGroupName": "up", "nextToken": token}
        assert refused(world, "ListThingsInThingGroup", **members)[0] == "InvalidRequest"


def test_list_jobs_finds_those_of_a_group() -> None:
    """By its name or its id, with the id in the summaries (1.5)."""
    world = family()
    world.create_job("J1", "up")
    world.create_job("J2", "left", targetSelection="CONTINUOUS")
    for members in ({"thingGroupName": "left"}, {"thingGroupId": "id-of-left"}):
        (listed,) = world.control("ListJobs", **members)["jobs"]
        assert (listed["jobId"], listed["thingGroupId"]) == ("J2", "id-of-left")
    assert refused(world, "ListJobs", thingGroupId="id-of-nobody")[0] == "ResourceNotFound"


def test_limits_are_settings() -> None:
    """All configurable (control plane 10)."""
    world = GroupWorld("T", rules=Rules(groups_per_thing_max=1))
    world.group("a", "T")
    world.group("b")
    assert refused(world, "AddThingToThingGroup", thingName="T", thingGroupName="b")[0] == "InvalidRequest"
