"""The registry where it is seldom looked at: limits that were lowered, groups without members, queries that
change while they are followed (control plane 1.4, 1.6, 1.8, 1.9).
"""

from typing import Any

import msgspec
import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.test_dynamic_groups import IndexedWorld
from tests.broker.core.test_registry_rules import ARN, INVALID, NOT_FOUND, refused
from tests.broker.core.world import DOCUMENT, MINUTE_MS, only
from thingjobs_broker.core import membership
from thingjobs_broker.core.naming import Naming, group_of, thing_of
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


def test_a_query_may_look_at_a_group_that_comes_later() -> None:
    """1.9, "Re-evaluation": of group membership too, be it that a new query finds all its things at once."""
    world = IndexedWorld(*numbered(3))
    world.dynamic("follows", "thingGroupNames:later")
    world.dynamic("later", "thingName:T0000?")
    world.advance(1000)
    assert world.members("follows") == world.members("later") == numbered(3)
    change = {"thingGroupName": "later", "thingGroupProperties": {}, "queryString": "thingName:*1"}
    world.control("UpdateDynamicThingGroup", **change)
    world.advance(1000)
    assert world.members("follows") == ["T00001"]


def test_deleted_groups_end_from_below_in_whatever_order_they_were_recovered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1.8, DeleteThingGroup: a group whose members are yet to leave waits for those below it."""
    monkeypatch.setattr(membership, "CHANGES_SLICE", 2)
    world = GroupWorld(*numbered(9))
    world.group("up")
    world.group("below", *numbered(9), parent="up")
    for name in ("below", "up"):
        world.control("DeleteThingGroup", thingGroupName=name)
    ids = list(world.state.groups_at_work)
    assert len(ids) == 2
    world.state.groups_at_work = {each: world.state.groups[each] for each in reversed(ids)}
    world.advance(60_000)
    assert (world.state.groups, world.state.group_members) == ({}, {})


def test_those_who_are_yet_to_leave_another_group_are_no_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.5, "CreateJob targets": of deleted groups only those that had the name of the target count."""
    monkeypatch.setattr(membership, "CHANGES_SLICE", 2)
    world = GroupWorld("A", *numbered(9))
    world.group("G", "A")
    world.group("H", *numbered(9))
    world.control("DeleteThingGroup", thingGroupName="H")
    assert world.state.groups_at_work
    world.create_job("J1", "G")
    world.advance(MINUTE_MS)
    assert [one and one.thing_name for one in world.job("J1").executions] == ["A"]


def test_names_of_one_kind_are_none_of_the_other() -> None:
    """1.5, "CreateJob targets": a thing and a group may have the same name."""
    naming = Naming()
    assert (group_of(naming.group_arn("N")), thing_of(naming.group_arn("N"))) == ("N", None)
    assert (group_of(naming.thing_arn("N")), thing_of(naming.thing_arn("N"))) == (None, "N")


def test_every_change_of_the_registry_moves_the_time_of_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Architecture, "Time": a clock that starts anew begins no earlier than the last change; see `World`."""
    monkeypatch.setattr(membership, "LOOKS_SLICE", 1)
    world = GroupWorld("T", "U", rules=Rules(moto_compat=True))
    arn, of_group = f"{ARN}thinggroup/G", {"thingGroupName": "G", "thingGroupProperties": {}}
    changes: list[tuple[str, dict[str, Any]]] = [
        ("UpdateThing", {"thingName": "T", "attributePayload": {"attributes": {"a": "1"}}}),
        ("CreateThingType", {"thingTypeName": "pump"}),
        ("DeprecateThingType", {"thingTypeName": "pump"}),
        ("DeleteThingType", {"thingTypeName": "pump"}),
        ("CreateThingGroup", {"thingGroupName": "G"}),
        ("UpdateThingGroup", of_group),
        ("AddThingToThingGroup", {"thingGroupName": "G", "thingName": "T"}),
        ("UpdateThingGroupTimeouts", {"thingGroupName": "G", "maximumTimeoutInMinutes": 5}),
        ("UpdateThingGroupTimeouts", {"thingGroupName": "G"}),
        ("TagResource", {"resourceArn": arn, "tags": [{"Key": "k"}]}),
        ("UntagResource", {"resourceArn": arn, "tagKeys": ["k"]}),
        ("DeleteThingGroup", {"thingGroupName": "G"}),
        ("UpdateIndexingConfiguration", {"thingIndexingConfiguration": {"thingIndexingMode": "REGISTRY"}}),
        ("CreateDynamicThingGroup", {"thingGroupName": "D", "queryString": "none"}),
        ("UpdateEventConfigurations", {"eventConfigurations": {"JOB": {"Enabled": False}}}),
        ("CreateJobTemplate", {"jobTemplateId": "t", "description": "d", "document": "{}"}),
        ("DeleteJobTemplate", {"jobTemplateId": "t"}),
        ("DeleteThing", {"thingName": "T"}),
    ]
    for operation, members in changes:
        world.pass_unnoticed(1)
        world.control(operation, **members)
        assert world.state.last_at_ms == world.now_ms, operation
    world.pass_unnoticed(1)
    world.fire()  # The next one is looked at for D.
    assert world.state.last_at_ms == world.now_ms
    world.restart()


def test_moto_compat_leaves_a_source_unread() -> None:
    """11.2: what moto's suite names as documentSource lies nowhere; it is shown as it was given."""
    world = GroupWorld("T", rules=Rules(moto_compat=True))
    world.create_job("J1", "T", document=None, documentSource="s3://bucket/none")
    shown = world.control("DescribeJob", jobId="J1")
    assert shown["documentSource"] == "s3://bucket/none"
    assert world.control("GetJobDocument", jobId="J1") == {"document": ""}
    world.create_job("J2", "T")
    assert world.control("GetJobDocument", jobId="J2") == {"document": DOCUMENT}


def test_moto_compat_deletes_a_type_at_once() -> None:
    """11.2: without five minutes of deprecation, but not while a thing has it."""
    world = GroupWorld("T", rules=Rules(moto_compat=True))
    world.control("CreateThingType", thingTypeName="pump")
    world.control("UpdateThing", thingName="T", thingTypeName="pump")
    assert refused(world, "DeleteThingType", thingTypeName="pump") == INVALID
    world.control("UpdateThing", thingName="T", removeThingType=True)
    world.control("DeleteThingType", thingTypeName="pump")
    assert world.state.thing_types == {}


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
