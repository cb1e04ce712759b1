"""Static thing groups: hierarchy, description, deletion, listing (control plane 1.8, 2.5, A20)."""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.world import MINUTE_MS, endings, only
from thingjobs_broker.core import membership
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import JobStatus

ARN = "arn:aws:iot:local:000000000000:"


def refused(world: GroupWorld, operation: str, **members: Any) -> tuple[str, str]:
    """Code and message of a refusal that changed nothing."""
    body = only(world.call(operation, members))
    assert world.records == []
    return body["code"].removesuffix("Exception"), body["message"]


def names(world: GroupWorld, **members: Any) -> list[str]:
    """What ListThingGroups lists."""
    return [group["groupName"] for group in world.control("ListThingGroups", **members)["thingGroups"]]


def family() -> GroupWorld:
    """A hierarchy of four groups, and a lone one."""
    world = GroupWorld("T")
    for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "a"), ("lone", None)):
        world.control(
            "CreateThingGroup", thingGroupName=name, **({"parentGroupName": parent} if parent else {})
        )
    return world


def test_the_same_group_again_is_a_success_with_the_same_ids() -> None:
    """Another one of its name is ResourceAlreadyExists, with the words that clients match (1.8, moto)."""
    world = GroupWorld()
    request = {"thingGroupName": "G", "thingGroupProperties": {"thingGroupDescription": "presses"}}
    answer = world.control("CreateThingGroup", **request, tags=[{"Key": "team", "Value": "x"}])
    assert answer == {
        "thingGroupName": "G",
        "thingGroupArn": f"{ARN}thinggroup/G",
        "thingGroupId": "id-1",
    }
    assert world.control("CreateThingGroup", **request) == answer
    assert world.records == []
    code, message = refused(world, "CreateThingGroup", thingGroupName="G")
    assert code == "ResourceAlreadyExists"
    assert message == "Thing Group G already exists in current account with different properties"
    body = only(world.call("CreateThingGroup", {"thingGroupName": "G"}))
    assert (body["resourceId"], body["resourceArn"]) == ("id-1", f"{ARN}thinggroup/G")
    tags = world.control("ListTagsForResource", resourceArn=f"{ARN}thinggroup/G")
    assert tags == {"tags": [{"Key": "team", "Value": "x"}]}


def test_describe_shows_the_way_from_the_root() -> None:
    """Parent fields are absent for roots, attributePayload where there are no attributes (1.8)."""
    world = family()
    world.control(
        "UpdateThingGroup",
        thingGroupName="c",
        thingGroupProperties={"attributePayload": {"attributes": {"k": "v"}}},
    )
    assert world.control("DescribeThingGroup", thingGroupName="c") == {
        "thingGroupName": "c",
        "thingGroupArn": f"{ARN}thinggroup/c",
        "thingGroupId": "id-4",
        "version": 2,
        "thingGroupProperties": {"attributePayload": {"attributes": {"k": "v"}}},
        "thingGroupMetadata": {
            "parentGroupName": "b",
            "rootToParentThingGroups": [
                {"groupName": name, "groupArn": f"{ARN}thinggroup/{name}"} for name in ("a", "b")
            ],
            "creationDate": 1_700_000_000.0,
        },
    }
    root = world.control("DescribeThingGroup", thingGroupName="a")
    assert root["thingGroupMetadata"] == {"creationDate": 1_700_000_000.0}
    assert root["thingGroupProperties"] == {}


@pytest.mark.parametrize(
    ("payload", "left"),
    [
        ({"attributes": {"b": "2"}}, {"b": "2"}),
        ({"attributes": {"b": "2"}, "merge": True}, {"a": "1", "b": "2"}),
        ({"attributes": {}}, {}),
        ({"attributes": {}, "merge": True}, {"a": "1"}),
        ({"attributes": {"a": ""}, "merge": True}, {}),
        ({"merge": True}, {"a": "1"}),
    ],
)
def test_updates_replace_or_merge_the_attributes(payload: dict[str, Any], left: dict[str, str]) -> None:
    """The version counts; the description stays unless it is given (1.8, moto)."""
    world = GroupWorld()
    properties = {"thingGroupDescription": "x", "attributePayload": {"attributes": {"a": "1"}}}
    world.control("CreateThingGroup", thingGroupName="G", thingGroupProperties=properties)
    update = {"thingGroupName": "G", "thingGroupProperties": {"attributePayload": payload}}
    assert world.control("UpdateThingGroup", **update, expectedVersion=1) == {"version": 2}
    shown = world.control("DescribeThingGroup", thingGroupName="G")["thingGroupProperties"]
    assert shown.get("attributePayload", {"attributes": {}})["attributes"] == left
    assert shown["thingGroupDescription"] == "x"
    assert refused(world, "UpdateThingGroup", **update, expectedVersion=1)[0] == "VersionConflict"
    world.restart()


def test_lists_filter_by_parent_prefix_and_depth() -> None:
    """A20: all descendants unless recursive is false; without a parent all, or the roots."""
    world = family()
    assert names(world) == ["a", "b", "c", "d", "lone"]
    assert names(world, recursive=False) == ["a", "lone"]
    assert names(world, parentGroup="a") == ["b", "c", "d"]
    assert names(world, parentGroup="a", recursive=False) == ["b", "d"]
    assert names(world, namePrefixFilter="l") == ["lone"]
    assert refused(world, "ListThingGroups", parentGroup="x")[0] == "ResourceNotFound"
    first = world.control("ListThingGroups", maxResults=2)
    world.control("DeleteThingGroup", thingGroupName="c")
    second = world.control("ListThingGroups", nextToken=first["nextToken"])
    assert [group["groupName"] for group in second["thingGroups"]] == ["d", "lone"]


def test_depth_and_width_are_limited() -> None:
    """Seven levels, a hundred groups directly below one (control plane 10)."""
    world = GroupWorld()
    parent: dict[str, str] = {}
    for level in range(7):
        world.control("CreateThingGroup", thingGroupName=f"level-{level}", **parent)
        parent = {"parentGroupName": f"level-{level}"}
    assert refused(world, "CreateThingGroup", thingGroupName="deeper", **parent)[0] == "InvalidRequest"
    for number in range(99):
        world.group(f"wide-{number}", parent="level-0")
    code, message = refused(world, "CreateThingGroup", thingGroupName="w", parentGroupName="level-0")
    assert (code, message) == (
        "InvalidRequest",
        "Groups directly below level-0: 101; expected at most 100 (setting quotas.group_children_max)",
    )
    assert (
        refused(world, "CreateThingGroup", thingGroupName="w", parentGroupName="x")[0] == "ResourceNotFound"
    )


def test_a_group_with_groups_below_it_stays() -> None:
    """InvalidRequest; a missing group succeeds, the wrong version does not (1.8)."""
    world = family()
    assert refused(world, "DeleteThingGroup", thingGroupName="b")[0] == "InvalidRequest"
    assert refused(world, "DeleteThingGroup", thingGroupName="c", expectedVersion=5)[0] == "VersionConflict"
    world.control("DeleteThingGroup", thingGroupName="c", expectedVersion=1)
    world.control("DeleteThingGroup", thingGroupName="b")
    world.control("DeleteThingGroup", thingGroupName="b")
    assert world.records == []
    assert names(world) == ["a", "d", "lone"]


def test_a_deleted_group_takes_its_tags_and_timeouts_along() -> None:
    """A new group of its name begins without them."""
    world = GroupWorld("T")
    world.control("CreateThingGroup", thingGroupName="G", tags=[{"Key": "k"}])
    world.control("UpdateThingGroupTimeouts", thingGroupName="G", defaultTimeoutInMinutes=5)
    world.join("T", "G")
    world.control("DeleteThingGroup", thingGroupName="G")
    assert (world.state.tags, world.state.group_timeouts, world.state.groups) == ({}, {}, {})
    assert world.thing("T").groups == ()
    world.control("CreateThingGroup", thingGroupName="G")
    world.restart()


def test_the_members_of_a_deleted_group_leave_its_continuous_jobs() -> None:
    """As if they had left, from the groups above too (control plane 2.5); what runs runs on."""
    world = GroupWorld("A", "B")
    world.group("up")
    world.group("G", "A", "B", parent="up")
    world.create_job("J1", "up", targetSelection="CONTINUOUS")
    world.device("B", "start-next")
    sent = world.call("DeleteThingGroup", {"thingGroupName": "G"})
    assert endings(sent) == ["accepted", "notify", "notify-next", "removed"]
    assert world.execution("A", "J1").status is Status.REMOVED
    assert world.execution("B", "J1").status is Status.IN_PROGRESS


def test_a_snapshot_under_way_reaches_the_members_of_a_deleted_group() -> None:
    """Control plane 2.5: nothing changes for it."""
    world = GroupWorld(*numbered(5))
    world.group("G", *numbered(5))
    world.create_job("J1", "G", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.control("DeleteThingGroup", thingGroupName="G")
    world.advance(10 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J1").executions] == numbered(5)


@pytest.mark.parametrize("is_made_anew", [True, False])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_snapshot_that_begins_later_reaches_nobody_who_is_yet_to_leave_a_deleted_group(
    is_made_anew: bool, restarts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control plane 2.5: neither one for a new group of the same name, nor one for the group above."""
    monkeypatch.setattr(membership, "CHANGES_SLICE", 1)
    world = GroupWorld("A", "B", "C")
    world.group("up")
    world.group("G", "A", "B", parent="up")
    world.create_job("J1", "up", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    world.control("DeleteThingGroup", thingGroupName="G")
    if is_made_anew:
        world.control("CreateThingGroup", thingGroupName="G")
        world.join("C", "G")
    world.create_job("J2", "G" if is_made_anew else "up")
    if restarts:
        world.restart()
    world.advance(10 * MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J2").executions] == ["C"] * is_made_anew
    # One that was under way, for the group above, goes on.
    assert [one and one.thing_name for one in world.job("J1").executions] == ["A", "B"]
    world.restart()


@pytest.mark.parametrize("selection", ["SNAPSHOT", "CONTINUOUS"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_large_group_is_left_in_slices(
    selection: str, restarts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is free at once; a restart in between goes on; jobs come out as with a small one."""
    monkeypatch.setattr(membership, "CHANGES_SLICE", 3)
    things = numbered(10)
    world = GroupWorld(*things)
    world.group("up")
    world.group("G", *things, parent="up")
    world.create_job("J1", "G", targetSelection=selection, jobExecutionsRolloutConfig={"maximumPerMinute": 2})
    world.control("DeleteThingGroup", thingGroupName="G")
    world.control("DeleteThingGroup", thingGroupName="up")
    assert world.state.group_ids == {}
    assert world.control("ListThingGroupsForThing", thingName="T00009") == {"thingGroups": []}
    if restarts:
        world.restart()
    world.control("CreateThingGroup", thingGroupName="G")
    world.advance(10 * MINUTE_MS)
    assert list(world.state.group_ids) == ["G"]
    assert world.control("ListThingsInThingGroup", thingGroupName="G") == {"things": []}
    counts = world.job("J1").counts
    if selection == "SNAPSHOT":
        assert counts[Status.QUEUED] == 10
        assert world.job("J1").rollout is None
    else:
        assert (counts[Status.QUEUED], counts[Status.REMOVED]) == (0, 2)
        assert world.job("J1").status is JobStatus.IN_PROGRESS
    world.restart()
