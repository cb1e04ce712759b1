"""Where the rules of groups, search and tags begin and end: the least and the most that each allows (control
plane 1.1, 1.3, 1.8, 1.9).
"""

from typing import Any

import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.test_control_groups import family, names, refused
from tests.broker.core.test_dynamic_groups import REGISTRY, STATUS, IndexedWorld
from tests.broker.core.world import World
from thingjobs_broker.core import groups, membership
from thingjobs_broker.core.ports import Rules
from thingjobs_broker.core.query import parse
from thingjobs_broker.core.query_match import Indexed


def test_a_thing_that_becomes_full_gives_up_nothing() -> None:
    """1.9, "10-group limit": overrideDynamicGroups evicts only where a thing would have too many."""
    world = IndexedWorld("T", rules=Rules(groups_per_thing_max=2))
    world.dynamic("D", "thingName:T")
    world.group("static")
    request = {"thingName": "T", "thingGroupName": "static"}
    world.control("AddThingToThingGroup", **request, overrideDynamicGroups=True)
    assert (world.members("D"), world.members("static")) == (["T"], ["T"])


def test_what_is_full_of_static_groups_cannot_make_room() -> None:
    """1.8, AddThingToThingGroup: more than 10 groups are InvalidRequest, also with overrideDynamicGroups."""
    world = GroupWorld("T", rules=Rules(groups_per_thing_max=1))
    world.group("a", "T")
    world.group("b")
    for override in (True, False):
        members = {"thingName": "T", "thingGroupName": "b", "overrideDynamicGroups": override}
        code, message = refused(world, "AddThingToThingGroup", **members)
        assert (code, "overrideDynamicGroups" in message) == ("InvalidRequest", False)


def test_connections_are_seen_only_where_they_are_indexed() -> None:
    """1.8, thingConnectivityIndexingMode: without STATUS neither a query nor an answer has connectivity."""
    world = IndexedWorld("T")
    world.connect("T")
    online = {"queryString": "connectivity.connected:true"}
    assert world.control("SearchIndex", **online) == {"things": []}
    assert "connectivity" not in world.control("SearchIndex", queryString="T")["things"][0]
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=STATUS)
    (found,) = world.control("SearchIndex", **online)["things"]
    assert found["connectivity"] == {"connected": True, "timestamp": 5}


def test_what_is_not_known_of_a_connection_is_absent() -> None:
    """1.1, "Absent vs null": a broker that does not tell leaves connectivity out."""
    world = World("T")
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=STATUS)
    (found,) = world.control("SearchIndex", queryString="T")["things"]
    assert "connectivity" not in found


def test_search_knows_one_version_of_the_language() -> None:
    """1.8: queryVersion 2017-09-30, for SearchIndex as for dynamic groups."""
    world = World("T")
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=REGISTRY)
    assert world.control("SearchIndex", queryString="T", queryVersion="2017-09-30")["things"]
    body = world.call("SearchIndex", {"queryString": "T", "queryVersion": "2016-03-23"})[0]
    assert (body.ending, body.body["code"]) == ("rejected", "InvalidRequestException")
    for name in ("a b", ""):
        body = world.call("SearchIndex", {"queryString": "T", "indexName": name})[0]
        assert (body.ending, body.body["code"]) == ("rejected", "InvalidRequestException")


@pytest.mark.parametrize("kind", ["job", "jobtemplate", "thinggroup", "thingtype"])
def test_resources_of_each_kind_have_tags(kind: str) -> None:
    """1.4, TagResource: jobs, templates, thing groups and thing types, each for itself."""
    world = GroupWorld("T")
    world.create_job("N", "T")
    make: dict[str, tuple[str, dict[str, Any]]] = {
        "jobtemplate": (
            "CreateJobTemplate",
            {"jobTemplateId": "N", "description": "d", "document": "{}"},
        ),
        "thinggroup": ("CreateThingGroup", {"thingGroupName": "N"}),
        "thingtype": ("CreateThingType", {"thingTypeName": "N"}),
    }
    arn = world.described("N")["jobArn"].replace(":job/", f":{kind}/")
    if kind in make:
        assert refused(world, "ListTagsForResource", resourceArn=arn)[0] == "ResourceNotFound"
        operation, members = make[kind]
        world.control(operation, **members)
    world.control("TagResource", resourceArn=arn, tags=[{"Key": "a", "Value": "1"}])
    assert world.control("ListTagsForResource", resourceArn=arn) == {"tags": [{"Key": "a", "Value": "1"}]}


def test_a_page_of_roots_is_followed_by_roots() -> None:
    """1.8, ListThingGroups: with recursive=false what is below the last one of a page is not listed."""
    world = family()
    roots = names(world, recursive=False)
    first = world.control("ListThingGroups", recursive=False, maxResults=1)
    rest = names(world, recursive=False, nextToken=first["nextToken"]) if "nextToken" in first else []
    assert [first["thingGroups"][0]["groupName"], *rest] == roots
    assert len(roots) > 1


def test_members_of_a_deleted_group_leave_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded work per step, where each who leaves a group leaves a job, too (2.5)."""
    monkeypatch.setattr(membership, "CHANGES_SLICE", 4)
    world = GroupWorld()
    things = numbered(4)
    world.things(*things)
    world.group("G", *things)
    world.create_job("J", "G", targetSelection="CONTINUOUS")
    world.advance(60_000)
    assert world.made("J") == len(things)
    group_id = world.state.group_ids["G"]
    world.control("DeleteThingGroup", thingGroupName="G")
    assert len(world.state.group_members[group_id]) in (1, 2, 3)
    world.advance(60_000)
    assert group_id not in world.state.groups


def test_those_whom_a_query_finds_join_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.9, "Status": BUILDING while more are to join, be it that all have been looked for at once."""
    monkeypatch.setattr(membership, "CHANGES_SLICE", 4)
    world = GroupWorld(*numbered(10))
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=REGISTRY)
    world.control("CreateDynamicThingGroup", thingGroupName="D", queryString="*")
    group = world.state.groups[world.state.group_ids["D"]]
    assert (len(world.state.group_members[group.group_id]), group.status.value) in [
        (few, "BUILDING") for few in (1, 2, 3, 4)
    ]
    world.advance(60_000)
    assert world.control("ListThingsInThingGroup", thingGroupName="D")["things"] == numbered(10)
    assert world.control("DescribeThingGroup", thingGroupName="D")["status"] == "ACTIVE"


def test_tags_may_hold_the_marks_of_the_table() -> None:
    r"""1.3, tags: letters, spaces and numbers of any script, and _.:/=+\-@; nothing else."""
    world = World("T")
    world.create_job("J", "T")
    arn = world.control("DescribeJob", jobId="J")["job"]["jobArn"]
    tags = [{"Key": "_.:/=+-@", "Value": "é ٣ _.:/=+-@"}]
    world.control("TagResource", resourceArn=arn, tags=tags)
    assert world.control("ListTagsForResource", resourceArn=arn) == {"tags": tags}
    for character in "#!*,\\\n":
        for tag in ({"Key": character, "Value": ""}, {"Key": "k", "Value": character}):
            answer = world.call("TagResource", {"resourceArn": arn, "tags": [tag]})
            assert answer[0].ending == "rejected", tag
    assert world.control("ListTagsForResource", resourceArn=arn) == {"tags": tags}


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"queryString": "nonsense.field:1"}, "InvalidQuery"),
        ({"queryString": "a OR b OR c OR d OR e OR f"}, "InvalidQuery"),
        ({"queryString": "thingName:B", "indexName": "other"}, "InvalidRequest"),
        ({"queryString": "thingName:B", "queryVersion": "2016-03-23"}, "InvalidRequest"),
    ],
)
def test_a_dynamic_group_is_not_changed_to_what_could_not_be_made(members: dict[str, str], code: str) -> None:
    """1.8, UpdateDynamicThingGroup; 1.9: five terms, the one index, the one version; nothing changes."""
    world = IndexedWorld("A", "B")
    world.dynamic("D", "thingName:A")
    request = {"thingGroupName": "D", "thingGroupProperties": {}} | members
    assert refused(world, "UpdateDynamicThingGroup", **request)[0] == code
    world.advance(1)
    assert world.members("D") == ["A"]


def test_another_query_is_followed_from_the_answer_on() -> None:
    """1.9, "Status": the first slice of what REBUILDING does is done with the change, as BUILDING's is."""
    world = IndexedWorld("A", "B")
    world.dynamic("D", "thingName:A")
    request = {"thingGroupName": "D", "thingGroupProperties": {}}
    world.control("UpdateDynamicThingGroup", **request, queryString="thingName:B")
    assert world.members("D") == ["B"]
    assert world.control("DescribeThingGroup", thingGroupName="D")["status"] == "ACTIVE"
    records = len(world.journal)
    world.control("UpdateDynamicThingGroup", **request)
    assert len(world.journal) == records + 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("attributes.n:[10 TO 20]", ["ten", "twelve", "twenty"]),
        ("attributes.n:{10 TO 20}", ["twelve"]),
        ("attributes.n:{10 TO 20]", ["twelve", "twenty"]),
        ("attributes.n:[10 TO 20}", ["ten", "twelve"]),
        ("attributes.n:[* TO 10]", ["ten"]),
        ("attributes.n:[20 TO *]", ["twenty"]),
        ("attributes.n:[* TO *]", ["ten", "twelve", "twenty"]),
        ("attributes.t:[* TO b]", ["ten"]),
        ("attributes.n: 12", ["twelve"]),
        ("timestamp", []),
        ("thingName:te* OR thingName:tw*", ["ten", "twelve", "twenty"]),
    ],
)
def test_ranges_include_and_exclude_their_ends(text: str, expected: list[str]) -> None:
    """1.9, "term": [a TO b] inclusive, {a TO b] mixed; an end that is * is open."""
    world = IndexedWorld()
    for name, number, letter in (("ten", "10", "b"), ("twelve", "12", "bb"), ("twenty", "20", "c")):
        attributes = {"attributes": {"n": number, "t": letter}}
        world.control("CreateThing", thingName=name, attributePayload=attributes)
    found = world.control("SearchIndex", queryString=text)["things"]
    assert [thing["thingName"] for thing in found] == expected


@pytest.mark.parametrize(
    "text", ["other.connected:true", "connected:true", "connectivity:true", "attributes:x"]
)
def test_a_member_is_a_field_of_its_own_root_only(text: str) -> None:
    """1.9, "Fields": an unknown field is InvalidQuery."""
    assert refused(IndexedWorld("T"), "SearchIndex", queryString=text)[0] == "InvalidQuery"


def test_a_missing_index_is_told_by_what_is_missing() -> None:
    """1.8, SearchIndex: indexing that is off is ResourceNotFound and says so; else the index is named."""
    world = GroupWorld("T")
    assert refused(world, "DescribeIndex", indexName="AWS_Things")[1].endswith("indexing is off")
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=REGISTRY)
    assert refused(world, "DescribeIndex", indexName="x")[1].endswith("expected AWS_Things")


def test_a_dynamic_group_follows_the_end_of_another_group() -> None:
    """1.9, "Re-evaluation": membership is indexed data, also where the group that ends is what is left."""
    world = IndexedWorld("T")
    world.group("G", "T")
    world.dynamic("in", "thingGroupNames:G")
    world.dynamic("out", "NOT thingGroupNames:G")
    assert (world.members("in"), world.members("out")) == (["T"], [])
    world.control("DeleteThingGroup", thingGroupName="G")
    world.advance(1)
    assert (world.members("in"), world.members("out")) == ([], ["T"])


def test_a_deleted_group_is_gone_though_members_are_yet_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.8, DeleteThingGroup: its id and its name are not found; a new group of its name is another one."""
    monkeypatch.setattr(membership, "CHANGES_SLICE", 4)
    things = numbered(9)
    world = GroupWorld(*things)
    world.group("G", *things)
    world.group("other", "T00000")
    world.create_job("J", "G", targetSelection="CONTINUOUS")
    assert world.control("ListJobs", thingGroupId="id-of-G")["jobs"]
    world.control("DeleteThingGroup", thingGroupName="G")
    assert len(world.state.group_members["id-of-G"]) > 0
    for members in ({"thingGroupId": "id-of-G"}, {"thingGroupName": "G"}):
        assert refused(world, "ListJobs", **members)[0] == "ResourceNotFound"
    made = world.control("CreateThingGroup", thingGroupName="G")
    assert made["thingGroupId"] != "id-of-G"
    assert world.control("ListThingsInThingGroup", thingGroupName="G") == {"things": []}
    listed = world.control("ListThingGroupsForThing", thingName="T00000")["thingGroups"]
    assert [group["groupName"] for group in listed] == ["other"]


def test_an_empty_attribute_of_a_group_is_none() -> None:
    """1.8: an attribute that is set to "" is removed, when a group is made and when it is changed."""
    world = GroupWorld()
    given = {"attributePayload": {"attributes": {"a": "1", "b": ""}}}
    world.control("CreateThingGroup", thingGroupName="G", thingGroupProperties=given)

    def shown() -> dict[str, Any]:
        group = world.control("DescribeThingGroup", thingGroupName="G")
        properties: dict[str, Any] = group["thingGroupProperties"]
        return properties

    assert shown() == {"attributePayload": {"attributes": {"a": "1"}}}
    change = {"attributePayload": {"attributes": {"a": "", "c": "2"}, "merge": True}}
    world.control("UpdateThingGroup", thingGroupName="G", thingGroupProperties=change)
    assert shown() == {"attributePayload": {"attributes": {"c": "2"}}}


def test_an_operation_for_the_other_kind_of_group_is_named() -> None:
    """1.8: static and dynamic groups have operations of their own; the refusal tells which."""
    world = IndexedWorld("T")
    world.group("S")
    world.dynamic("D", "thingName:T")
    properties: dict[str, Any] = {"thingGroupProperties": {}}
    for operation, name, said in (
        ("UpdateDynamicThingGroup", "S", "is static; expected an operation for ThingGroups"),
        ("UpdateThingGroup", "D", "is dynamic; expected an operation for DynamicThingGroups"),
    ):
        code, message = refused(world, operation, thingGroupName=name, **properties)
        assert (code, said in message) == ("InvalidRequest", True)


def test_numbers_of_a_shadow_have_a_text() -> None:
    """1.9, "Matching": a wildcard is compared with the text of a number; nothing with that of an object."""
    thing = Indexed("T", shadows={"": {"reported": {"temp": 20.5, "count": 7, "net": {"a": 1}}}})
    for text, expected in (("temp:20*", True), ("temp:2?.5", True), ("count:?", True), ("net:*1*", False)):
        assert parse(f"shadow.reported.{text}").matches(thing) is expected


def test_who_is_no_thing_is_in_no_group() -> None:
    """1.8: membership is of things; a name that is none, or no longer, is in no group."""
    world = GroupWorld("T")
    world.group("G", "T")
    assert groups.contains(world.state, "G", "T")
    assert not groups.contains(world.state, "G", "none")
    assert not groups.contains(world.state, "none", "T")


def test_members_between_two_names_are_counted() -> None:
    """Behind the first name and before the other (2.5, whom a walk has yet to reach)."""
    world = GroupWorld()
    world.things(*numbered(5))
    world.group("G", *numbered(5))
    count = groups.count_at_most
    assert count(world.state, "G") == 5
    assert count(world.state, "G", "T00001") == 3
    assert count(world.state, "G", "T00001", "T00004") == 2
    assert count(world.state, "none") == 0
