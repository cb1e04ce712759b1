"""The registry where it is seldom looked at: limits that were lowered, groups without members, queries that
change while they are followed (control plane 1.4, 1.6, 1.8, 1.9).
"""

from typing import Any

import msgspec
import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.test_dynamic_groups import IndexedWorld
from tests.broker.core.test_registry_rules import ARN, INVALID, NOT_FOUND, refused
from tests.broker.core.world import MINUTE_MS, only
from thingjobs_broker.core import membership
from thingjobs_broker.core.ports import Rules


def test_a_word_without_a_field_is_looked_for_whatever_changes() -> None:
    """1.9, "Re-evaluation": in attributes, the type and the names of groups."""
    world = IndexedWorld("T")
    world.control("CreateThingType", thingTypeName="lathe")
    world.group("lathe")
    world.dynamic("lathes", "lathe")
    world.join("T", "lathe")
    assert world.members("lathes") == ["T"]
    world.leave("T", "lathe")
    assert world.members("lathes") == []
    changes: list[dict[str, Any]] = [
        {"attributePayload": {"attributes": {"kind": "Lathe"}}},
        {"attributePayload": {"attributes": {}}},
        {"thingTypeName": "lathe"},
        {"removeThingType": True},
    ]
    for members in changes:
        before = world.members("lathes")
        world.control("UpdateThing", thingName="T", **members)
        assert world.members("lathes") != before


def test_search_shows_the_type_of_a_thing() -> None:
    """1.8, SearchIndex: what a thing has not got is absent."""
    world = IndexedWorld("T")
    world.control("CreateThingType", thingTypeName="pump")
    world.control("CreateThing", thingName="P", thingTypeName="pump")
    plain, typed = world.control("SearchIndex", queryString="*")["things"]
    assert plain == {"thingName": "T", "thingId": world.thing("T").thing_id}
    assert typed == {"thingName": "P", "thingId": world.thing("P").thing_id, "thingTypeName": "pump"}


def test_a_limit_that_was_lowered_takes_nobody_out_of_a_group() -> None:
    """10, "Thing groups per thing": it is looked at when a thing joins, not when it changes."""
    world = IndexedWorld("T")
    for name in ("G", "H"):
        world.group(name, "T")
    world.dynamic("D", "thingName:T")
    world.dynamic("E", "attributes.a:1")
    before = world.thing("T").groups
    ports = world.service._ports
    world.service._ports = msgspec.structs.replace(ports, rules=Rules(groups_per_thing_max=1))
    world.attributes("T", b="1")
    world.attributes("T", a="2")
    assert world.thing("T").groups == before
    world.control("DeleteDynamicThingGroup", thingGroupName="D")
    world.attributes("T", a="3")
    assert world.thing("T").groups == before[:2]


def test_leaving_a_group_leaves_no_other_one() -> None:
    """1.8, RemoveThingFromThingGroup: nobody is asked to make room, be the limit exceeded or not."""
    world = IndexedWorld("T")
    world.dynamic("D", "thingName:T")
    for name in ("G", "H", "I"):
        world.group(name, "T")
    ports = world.service._ports
    world.service._ports = msgspec.structs.replace(ports, rules=Rules(groups_per_thing_max=2))
    world.leave("T", "I")
    assert world.members("D") == ["T"]


def test_a_rollout_over_groups_without_members_is_foretold() -> None:
    """DescribeJobRollout counts who belongs to a target; a group below it that never had anyone adds none."""
    world = GroupWorld("A", "B", "C", "D")
    world.group("G", "A", "B")
    world.group("H", parent="G")
    world.create_job("J1", "G", "C", "D", jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    for _ in range(4):
        assert world.control("DescribeJobRollout", jobId="J1")["things"] == 4
        world.advance(MINUTE_MS)


def test_a_query_that_changes_while_things_are_looked_for_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1.9, "Status": those that the former query has passed over are looked at too."""
    monkeypatch.setattr(membership, "LOOKS_SLICE", 4)
    world = IndexedWorld(*numbered(10))
    world.dynamic("D", "thingName:*9")
    assert world.control("DescribeThingGroup", thingGroupName="D")["status"] == "BUILDING"
    change = {"thingGroupName": "D", "thingGroupProperties": {}, "queryString": "thingName:T0000?"}
    world.control("UpdateDynamicThingGroup", **change)
    assert world.control("DescribeThingGroup", thingGroupName="D")["status"] == "REBUILDING"
    world.advance(1000)
    assert world.members("D") == numbered(10)
    assert world.control("DescribeThingGroup", thingGroupName="D")["status"] == "ACTIVE"


def test_a_page_of_tags_is_followed_by_tags_of_the_same_resource() -> None:
    """1.6, "Filters": a token belongs to its resourceArn; 50 tags are a page, where more are allowed."""
    world = GroupWorld("T", rules=Rules(tags_max=60))
    tags = [{"Key": f"k{number:02}", "Value": ""} for number in range(55)]
    for name in ("G", "H"):
        world.control("CreateThingGroup", thingGroupName=name, tags=tags)
    listed = world.control("ListTagsForResource", resourceArn=f"{ARN}thinggroup/G")
    token = listed["nextToken"]
    rest = world.control("ListTagsForResource", resourceArn=f"{ARN}thinggroup/G", nextToken=token)
    assert listed["tags"] + rest["tags"] == tags
    other = {"resourceArn": f"{ARN}thinggroup/H", "nextToken": token}
    assert refused(world, "ListTagsForResource", **other) == INVALID


def test_an_execution_that_is_not_there_is_named() -> None:
    """1.4, DescribeJobExecution: ResourceNotFound says which one was asked for."""
    world = GroupWorld("T")
    world.create_job("J1", "T")
    for members, which in (({}, ""), ({"executionNumber": 2}, " number 2")):
        job_id = "J1" if members else "J2"
        answer = only(world.call("DescribeJobExecution", {"jobId": job_id, "thingName": "T", **members}))
        assert answer["message"] == f"Thing T has no execution{which} of job {job_id}"


def test_a_thing_has_no_tags_but_may_be_asked_for_them() -> None:
    """1.4, ListTagsForResource: tools ask for those of every resource; what is not there is not found."""
    world = GroupWorld("T")
    assert world.control("ListTagsForResource", resourceArn=f"{ARN}thing/T") == {"tags": []}
    assert refused(world, "ListTagsForResource", resourceArn=f"{ARN}thing/none") == NOT_FOUND
