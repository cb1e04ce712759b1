"""Things and thing types, line by line: the rows of control plane 1.8 that other modules do not have."""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld
from tests.broker.core.world import START_S, World, only, picture

ARN = "arn:aws:iot:local:000000000000:"
INVALID, NOT_FOUND = "InvalidRequestException", "ResourceNotFoundException"
EXISTS, VERSION = "ResourceAlreadyExistsException", "VersionConflictException"


def refused(world: World, operation: str, **members: Any) -> str:
    """The code of a refusal that changed nothing."""
    before = picture(world.state)
    answer = only(world.call(operation, members))
    assert (world.records, picture(world.state)) == ([], before)
    code: str = answer["code"]
    return code


def payload(*, merge: bool = False, **attributes: Any) -> dict[str, Any]:
    return {"attributePayload": {"attributes": attributes, "merge": merge}}


def equipped() -> GroupWorld:
    """A type in use, one that is deprecated, a thing with the type."""
    world = GroupWorld("T")
    for name in ("pump", "old"):
        world.control("CreateThingType", thingTypeName=name)
    world.control("DeprecateThingType", thingTypeName="old")
    world.control("CreateThing", thingName="P", thingTypeName="pump", **payload(site="x", rack="1"))
    return world


def described(world: World, name: str = "P") -> dict[str, Any]:
    return world.control("DescribeThing", thingName=name)


# Things


def test_describe_thing_shows_all_there_is() -> None:
    """CreateThing, DescribeThing: the client id is the name; what a thing has not got is absent."""
    world = equipped()
    made = world.control("CreateThing", thingName="P", thingTypeName="pump", **payload(site="x", rack="1"))
    assert described(world) == {
        "defaultClientId": "P",
        "thingName": "P",
        "thingId": made["thingId"],
        "thingArn": f"{ARN}thing/P",
        "thingTypeName": "pump",
        "attributes": {"site": "x", "rack": "1"},
        "version": 1,
    }
    assert "thingTypeName" not in described(world, "T")
    assert refused(world, "DescribeThing", thingName="nobody") == NOT_FOUND
    assert refused(world, "UpdateThing", thingName="nobody") == NOT_FOUND


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"thingName": "P"}, EXISTS),
        ({"thingName": "P", "thingTypeName": "pump"}, EXISTS),
        ({"thingName": "P", **payload(site="x", rack="1")}, EXISTS),
        ({"thingName": "N", "thingTypeName": "none"}, NOT_FOUND),
        ({"thingName": "N", "thingTypeName": "old"}, INVALID),
        ({"thingName": "N", "billingGroupName": "b"}, NOT_FOUND),
        ({"thingName": "N", **payload(a="1", b="2", c="3", d="4")}, INVALID),
    ],
)
def test_create_thing_refuses(members: dict[str, Any], code: str) -> None:
    """CreateThing: another configuration, no such type, a deprecated one, four attributes without a type."""
    world = equipped()
    assert refused(world, "CreateThing", **members) == code


def test_a_refused_creation_names_what_is_there() -> None:
    """1.2: resourceId and resourceArn."""
    answer = only(equipped().call("CreateThing", {"thingName": "P"}))
    assert (answer["resourceId"], answer["resourceArn"]) == ("P", f"{ARN}thing/P")


@pytest.mark.parametrize(
    ("merge", "given", "left"),
    [
        (False, {"rack": "2"}, {"rack": "2"}),
        (True, {"rack": "2"}, {"site": "x", "rack": "2"}),
        (False, {"rack": "2", "site": ""}, {"rack": "2"}),
        (True, {"site": ""}, {"rack": "1"}),
        (False, {}, {}),
    ],
)
def test_updates_replace_or_merge_the_attributes(
    merge: bool, given: dict[str, str], left: dict[str, str]
) -> None:
    """UpdateThing: "" takes an attribute away in both, and so at CreateThing; the version grows."""
    world = equipped()
    world.control("UpdateThing", thingName="P", **payload(merge=merge, **dict[str, Any](given)))
    assert (described(world)["attributes"], described(world)["version"]) == (left, 2)
    world.control("CreateThing", thingName="new", **payload(**dict[str, Any](given)))
    assert "" not in described(world, "new")["attributes"].values()


def test_an_update_without_attributes_keeps_them() -> None:
    """UpdateThing: only what is given changes; the type can be taken away."""
    world = equipped()
    world.control("UpdateThing", thingName="P", expectedVersion=1)
    assert described(world)["attributes"] == {"site": "x", "rack": "1"}
    assert described(world)["thingTypeName"] == "pump"
    world.control("UpdateThing", thingName="P", removeThingType=True, expectedVersion=2)
    assert "thingTypeName" not in described(world)
    world.control("UpdateThing", thingName="P", thingTypeName="pump", expectedVersion=3)
    assert (described(world)["thingTypeName"], described(world)["version"]) == ("pump", 4)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"expectedVersion": 2}, VERSION),
        ({"expectedVersion": 0}, VERSION),
        ({"thingTypeName": "pump", "removeThingType": True}, INVALID),
        ({"thingTypeName": "none"}, NOT_FOUND),
        ({"thingTypeName": "old"}, INVALID),
        ({"removeThingType": True, **payload(a="1", b="2", c="3", d="4")}, INVALID),
    ],
)
def test_update_thing_refuses(members: dict[str, Any], code: str) -> None:
    """UpdateThing: a stale version, both or no such type, a deprecated one, too many attributes."""
    assert refused(equipped(), "UpdateThing", thingName="P", **members) == code


def test_a_thing_keeps_a_type_that_is_deprecated_later() -> None:
    """DeprecateThingType concerns things that are yet to get it."""
    world = equipped()
    world.control("DeprecateThingType", thingTypeName="pump")
    world.control("UpdateThing", thingName="P", **payload(site="y"))
    assert described(world)["thingTypeName"] == "pump"
    assert refused(world, "UpdateThing", thingName="T", thingTypeName="pump") == INVALID


@pytest.mark.parametrize(
    ("name", "value", "is_good"),
    [
        ("aZ0_.,@/:#-", "aZ0_.,@/:#=[]-", True),
        ("n" * 128, "v" * 800, True),
        ("n" * 129, "v", False),
        ("n", "v" * 801, False),
        ("a b", "v", False),
        ("a=", "v", False),
        ("n", "a b", False),
        ("n", "{", False),
        ("ü", "v", False),
        ("n", "v\n", False),
    ],
)
def test_the_form_of_attributes(name: str, value: str, is_good: bool) -> None:
    """The row of attributes: characters and lengths; for groups the same."""
    world = equipped()
    given = {"attributePayload": {"attributes": {name: value}}}
    for operation, members in (
        ("CreateThing", {"thingName": "N", **given}),
        ("CreateThingGroup", {"thingGroupName": "N", "thingGroupProperties": given}),
    ):
        answer = world.call(operation, members)[0]
        assert (answer.ending == "accepted") == is_good
        assert is_good or answer.body["code"] == INVALID


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({}, ["T", "P", "Q", "R"]),
        ({"thingTypeName": "pump"}, ["P", "Q"]),
        ({"thingTypeName": "pump", "attributeName": "site", "attributeValue": "xy"}, ["Q"]),
        ({"attributeName": "site", "attributeValue": "x"}, ["P"]),
        ({"attributeName": "site", "attributeValue": "x", "usePrefixAttributeValue": True}, ["P", "Q"]),
        ({"attributeValue": "1", "usePrefixAttributeValue": True}, ["P", "R"]),
        ({"attributeName": "rack"}, ["P", "R"]),
        ({"thingTypeName": "nothing"}, []),
    ],
)
def test_list_things_filters(members: dict[str, Any], found: list[str]) -> None:
    """ListThings: filters are combined with AND; in the order of creation."""
    world = equipped()
    world.control("CreateThing", thingName="Q", thingTypeName="pump", **payload(site="xy"))
    world.control("CreateThing", thingName="R", **payload(rack="12"))
    assert [one["thingName"] for one in world.control("ListThings", **members)["things"]] == found


def test_a_prefix_needs_a_value() -> None:
    """ListThings."""
    assert refused(equipped(), "ListThings", attributeName="a", usePrefixAttributeValue=True) == INVALID


# Thing types


def test_a_thing_type_is_described_and_the_same_again_is_a_success() -> None:
    """CreateThingType, DescribeThingType, ListThingTypes: other properties are a conflict."""
    world = World()
    properties = {"thingTypeDescription": "d", "searchableAttributes": ["a", "b", "c"]}
    members = {"thingTypeName": "pump", "thingTypeProperties": properties}
    made = world.control("CreateThingType", **members, tags=[{"Key": "k", "Value": "v"}])
    assert made == {"thingTypeName": "pump", "thingTypeArn": f"{ARN}thingtype/pump", "thingTypeId": "id-1"}
    assert (world.control("CreateThingType", **members), world.records) == (made, [])
    shown = {
        "thingTypeName": "pump",
        "thingTypeArn": f"{ARN}thingtype/pump",
        "thingTypeProperties": properties,
        "thingTypeMetadata": {"deprecated": False, "creationDate": START_S},
    }
    assert world.control("DescribeThingType", thingTypeName="pump") == shown | {"thingTypeId": "id-1"}
    assert world.control("ListThingTypes") == {"thingTypes": [shown]}
    tags = world.control("ListTagsForResource", resourceArn=made["thingTypeArn"])
    assert tags == {"tags": [{"Key": "k", "Value": "v"}]}
    answer = only(world.call("CreateThingType", {"thingTypeName": "pump"}))
    assert (answer["code"], answer["resourceId"]) == (EXISTS, "id-1")
    assert answer["resourceArn"] == made["thingTypeArn"]


@pytest.mark.parametrize("operation", ["Describe", "Update", "Deprecate", "Delete"])
def test_a_thing_type_that_is_not_there(operation: str) -> None:
    """Each of its operations: ResourceNotFound."""
    assert refused(World(), f"{operation}ThingType", thingTypeName="none") == NOT_FOUND


@pytest.mark.parametrize("operation", ["CreateThingType", "UpdateThingType"])
@pytest.mark.parametrize(
    "properties",
    [
        {"thingTypeDescription": "x" * 2029},
        {"thingTypeDescription": "a\nb"},
        {"searchableAttributes": ["a", "b", "c", "d"]},
        {"searchableAttributes": ["a b"]},
    ],
)
def test_bad_properties_of_a_type(operation: str, properties: dict[str, Any]) -> None:
    """ThingTypeDescription <= 2028 plain characters, three searchable attributes."""
    world = equipped()
    assert refused(world, operation, thingTypeName="pump", thingTypeProperties=properties) == INVALID


def test_an_update_replaces_the_properties_that_are_given() -> None:
    """UpdateThingType."""
    world = World()
    world.control("CreateThingType", thingTypeName="plain")
    assert world.control("DescribeThingType", thingTypeName="plain")["thingTypeProperties"] == {}
    only_described = {"thingTypeDescription": "d"}
    world.control("CreateThingType", thingTypeName="q", thingTypeProperties=only_described)
    assert world.control("DescribeThingType", thingTypeName="q")["thingTypeProperties"] == only_described
    properties = {"thingTypeDescription": "d", "searchableAttributes": ["a"]}
    world.control("CreateThingType", thingTypeName="p", thingTypeProperties=properties)
    changed = {"searchableAttributes": ["b"]}
    world.control("UpdateThingType", thingTypeName="p", thingTypeProperties=changed)
    shown = world.control("DescribeThingType", thingTypeName="p")["thingTypeProperties"]
    assert shown == properties | changed


def test_a_type_is_listed_by_prefix_in_pages() -> None:
    """ListThingTypes: the name is a prefix; a token belongs to it; those that went leave no gap."""
    world = World()
    for name in ("p-1", "q", "p-2", "p-3", "p-4"):
        world.control("CreateThingType", thingTypeName=name)
    page = world.control("ListThingTypes", thingTypeName="p-", maxResults=2)
    assert [one["thingTypeName"] for one in page["thingTypes"]] == ["p-1", "p-2"]
    token = page["nextToken"]
    assert refused(world, "ListThingTypes", thingTypeName="q", nextToken=token) == INVALID
    world.control("DeprecateThingType", thingTypeName="p-3")
    world.advance(5 * 60_000)
    world.control("DeleteThingType", thingTypeName="p-3")
    world.control("CreateThingType", thingTypeName="p-3")
    page = world.control("ListThingTypes", thingTypeName="p-", nextToken=token)
    assert [one["thingTypeName"] for one in page["thingTypes"]] == ["p-4", "p-3"]
    assert "nextToken" not in page
    world.restart()
    assert [one["thingTypeName"] for one in world.control("ListThingTypes")["thingTypes"]] == [
        *("p-1", "q", "p-2", "p-4", "p-3"),
    ]


def test_a_type_is_deleted_five_minutes_after_it_was_deprecated_and_unused() -> None:
    """DeprecateThingType, DeleteThingType: undoing begins anew; its tags go along."""
    world = World()
    world.control("CreateThingType", thingTypeName="used")
    world.control("CreateThing", thingName="T", thingTypeName="used")
    world.control("DeprecateThingType", thingTypeName="used")
    world.control("CreateThingType", thingTypeName="p", tags=[{"Key": "k"}])
    assert refused(world, "DeleteThingType", thingTypeName="p") == INVALID
    world.control("DeprecateThingType", thingTypeName="p")
    world.advance(60_000)
    world.control("DeprecateThingType", thingTypeName="p")
    metadata = world.control("DescribeThingType", thingTypeName="p")["thingTypeMetadata"]
    assert metadata == {"deprecated": True, "deprecationDate": START_S, "creationDate": START_S}
    world.control("DeprecateThingType", thingTypeName="p", undoDeprecate=True)
    assert not world.control("DescribeThingType", thingTypeName="p")["thingTypeMetadata"]["deprecated"]
    world.control("DeprecateThingType", thingTypeName="p")
    world.advance(5 * 60_000 - 1)
    assert refused(world, "DeleteThingType", thingTypeName="p") == INVALID
    world.advance(1)
    world.control("DeleteThingType", thingTypeName="p")
    assert refused(world, "DeleteThingType", thingTypeName="used") == INVALID  # A thing has it.
    world.control("UpdateThing", thingName="T", removeThingType=True)
    world.control("DeleteThingType", thingTypeName="used")
    assert refused(world, "DescribeThingType", thingTypeName="p") == NOT_FOUND
    assert world.state.tags == {}
