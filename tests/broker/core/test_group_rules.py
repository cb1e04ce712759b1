"""The rest of the registry, line by line: the rows of control plane 1.8 that other modules do not have."""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld
from tests.broker.core.test_registry_rules import ARN, INVALID, NOT_FOUND, VERSION, refused
from tests.broker.core.world import START_S, World
from thingjobs_broker.core.ports import Ports


@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("CreateThingGroup", {"thingGroupName": "N", "parentGroupName": "none"}, NOT_FOUND),
        ("DescribeThingGroup", {"thingGroupName": "none"}, NOT_FOUND),
        ("UpdateThingGroup", {"thingGroupName": "none", "thingGroupProperties": {}}, NOT_FOUND),
        ("UpdateThingGroup", {"thingGroupName": "G"}, INVALID),
        (
            "UpdateThingGroup",
            {"thingGroupName": "G", "thingGroupProperties": {}, "expectedVersion": 2},
            VERSION,
        ),
        (
            "UpdateThingGroup",
            {"thingGroupName": "G", "thingGroupProperties": {"thingGroupDescription": "a\nb"}},
            INVALID,
        ),
        (
            "CreateThingGroup",
            {"thingGroupName": "N", "thingGroupProperties": {"thingGroupDescription": "a\nb"}},
            INVALID,
        ),
        ("DeleteThingGroup", {"thingGroupName": "G", "expectedVersion": 2}, VERSION),
        ("ListThingGroups", {"parentGroup": "none"}, NOT_FOUND),
        ("ListThingsInThingGroup", {"thingGroupName": "none"}, NOT_FOUND),
        ("ListThingGroupsForThing", {"thingName": "none"}, NOT_FOUND),
        ("AddThingToThingGroup", {"thingName": "none", "thingGroupName": "G"}, NOT_FOUND),
        ("RemoveThingFromThingGroup", {"thingName": "T", "thingGroupName": "none"}, NOT_FOUND),
        ("UpdateThingGroupsForThing", {"thingName": "none"}, NOT_FOUND),
        ("UpdateThingGroupsForThing", {"thingName": "T", "thingGroupsToAdd": ["none"]}, NOT_FOUND),
        (
            "UpdateThingGroupsForThing",
            {"thingName": "T", "thingGroupsToAdd": ["G"], "thingGroupsToRemove": ["G"]},
            INVALID,
        ),
    ],
)
def test_operations_on_groups_refuse(operation: str, members: dict[str, Any], code: str) -> None:
    """1.8, the rows of groups."""
    world = GroupWorld("T")
    world.group("G")
    assert refused(world, operation, **members) == code


def test_removing_who_is_no_member_and_deleting_what_is_not_there_are_successes() -> None:
    """RemoveThingFromThingGroup, AddThingToThingGroup again, DeleteThingGroup."""
    world = GroupWorld("T")
    world.group("G")
    world.leave("T", "G")
    assert world.records == []
    world.join("T", "G")
    world.join("T", "G")
    assert world.records == []
    assert world.control("DeleteThingGroup", thingGroupName="none") == {}
    assert world.control("DeleteThingGroup", thingGroupName="G", expectedVersion=1) == {}
    assert "T" in world.state.things


def test_the_groups_of_a_thing_are_listed_in_pages() -> None:
    """ListThingGroupsForThing: direct memberships, static and dynamic, as they were created."""
    world = GroupWorld("T")
    indexing = {"thingIndexingMode": "REGISTRY"}
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=indexing)
    world.group("up")
    world.group("below", parent="up")
    world.control("CreateDynamicThingGroup", thingGroupName="D", queryString="thingName:T")
    world.advance(1000)
    world.join("T", "below")
    whole = world.control("ListThingGroupsForThing", thingName="T")
    assert whole == {
        "thingGroups": [
            {"groupName": "below", "groupArn": f"{ARN}thinggroup/below"},
            {"groupName": "D", "groupArn": f"{ARN}thinggroup/D"},
        ]
    }
    page = world.control("ListThingGroupsForThing", thingName="T", maxResults=1)
    rest = world.control("ListThingGroupsForThing", thingName="T", nextToken=page["nextToken"])
    assert page["thingGroups"] + rest["thingGroups"] == whole["thingGroups"]


# Index and events


def test_each_given_configuration_replaces_the_stored_one() -> None:
    """UpdateIndexingConfiguration: the other one stays; off is refused while dynamic groups exist."""
    world = World()
    off = {"thingIndexingMode": "OFF"}
    assert world.control("GetIndexingConfiguration") == {
        "thingIndexingConfiguration": off,
        "thingGroupIndexingConfiguration": {"thingGroupIndexingMode": "OFF"},
    }
    things = {"thingIndexingMode": "REGISTRY", "thingConnectivityIndexingMode": "STATUS"}
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=things)
    assert world.control("DescribeIndex", indexName="AWS_Things") == {
        "indexName": "AWS_Things",
        "indexStatus": "ACTIVE",
        "schema": "REGISTRY_AND_CONNECTIVITY_STATUS",
    }
    assert world.control("ListIndices") == {"indexNames": ["AWS_Things"]}
    groups = {"thingGroupIndexingMode": "ON"}
    world.control("UpdateIndexingConfiguration", thingGroupIndexingConfiguration=groups)
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"})
    assert world.control("GetIndexingConfiguration") == {
        "thingIndexingConfiguration": {"thingIndexingMode": "REGISTRY"},
        "thingGroupIndexingConfiguration": groups,
    }
    assert world.control("DescribeIndex", indexName="AWS_Things")["schema"] == "REGISTRY"
    world.control("CreateDynamicThingGroup", thingGroupName="D", queryString="thingName:T")
    assert refused(world, "UpdateIndexingConfiguration", thingIndexingConfiguration=off) == INVALID
    world.control("DeleteDynamicThingGroup", thingGroupName="D")
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=off)
    assert world.control("ListIndices") == {"indexNames": []}
    assert refused(world, "DescribeIndex", indexName="AWS_Things") == NOT_FOUND


def test_event_configurations_tell_when_they_were_changed() -> None:
    """DescribeEventConfigurations: a map of Enabled, and dates once anything was configured."""
    world = World()
    first = world.control("DescribeEventConfigurations")
    assert first.keys() == {"eventConfigurations"}
    enabled = {name for name, value in first["eventConfigurations"].items() if value == {"Enabled": True}}
    assert enabled == {"JOB", "JOB_EXECUTION"}
    world.control("UpdateEventConfigurations", eventConfigurations={"JOB": {"Enabled": False}})
    world.now_ms += 2000
    world.control("UpdateEventConfigurations", eventConfigurations={"THING": {"Enabled": True}})
    shown = world.control("DescribeEventConfigurations")
    assert (shown["creationDate"], shown["lastModifiedDate"]) == (START_S, START_S + 2)
    found = shown["eventConfigurations"]
    assert (found["JOB"], found["THING"]) == ({"Enabled": False}, {"Enabled": True})
    assert found["JOB_EXECUTION"] == {"Enabled": True}
    # Absent is false, as in AWS's model.
    world.control("UpdateEventConfigurations", eventConfigurations={"JOB_EXECUTION": {}})
    shown = world.control("DescribeEventConfigurations")["eventConfigurations"]
    assert shown["JOB_EXECUTION"] == {"Enabled": False}


def test_the_endpoints_are_told_by_type() -> None:
    """DescribeEndpoint: Data and Data-ATS are the broker, Jobs the HTTP data plane; absent is Data."""
    world = GroupWorld()
    world.ports = Ports(endpoints={"iot:Data": "broker.local", "iot:Jobs": "jobs.local"})
    world.restart()
    hosts = {"iot:Data": "broker.local", "iot:Data-ATS": "broker.local", "iot:Jobs": "jobs.local"}
    for kind, host in hosts.items():
        assert world.control("DescribeEndpoint", endpointType=kind) == {"endpointAddress": host}
    assert world.control("DescribeEndpoint") == {"endpointAddress": "broker.local"}
    assert refused(world, "DescribeEndpoint", endpointType="iot:CredentialProvider") == INVALID
    assert refused(world, "DescribeEndpoint", endpointType="iot:Nonsense") == INVALID


def test_a_dynamic_group_follows_the_type_of_a_thing() -> None:
    """1.9, "Re-evaluation": the type is indexed data; what has not changed is not looked at."""
    world = GroupWorld("T")
    indexing = {"thingIndexingMode": "REGISTRY"}
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=indexing)
    world.control("CreateThingType", thingTypeName="pump")
    world.control("CreateDynamicThingGroup", thingGroupName="D", queryString="thingTypeName:pump")
    world.advance(1000)
    world.control("UpdateThing", thingName="T", thingTypeName="pump")
    assert world.control("ListThingsInThingGroup", thingGroupName="D") == {"things": ["T"]}
    world.control("UpdateThing", thingName="T", removeThingType=True)
    assert world.control("ListThingsInThingGroup", thingGroupName="D") == {"things": []}


def test_tags_of_a_new_resource_are_checked_before_it_is_made() -> None:
    """1.3: each key once; for types and groups of both kinds."""
    world = GroupWorld("T")
    indexing = {"thingIndexingMode": "REGISTRY"}
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=indexing)
    tags = [{"Key": "a"}, {"Key": "a"}]
    assert refused(world, "CreateThingType", thingTypeName="N", tags=tags) == INVALID
    assert refused(world, "CreateThingGroup", thingGroupName="N", tags=tags) == INVALID
    dynamic = {"thingGroupName": "N", "queryString": "thingName:T"}
    assert refused(world, "CreateDynamicThingGroup", **dynamic, tags=tags) == INVALID
