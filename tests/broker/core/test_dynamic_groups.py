"""Dynamic thing groups and search: who belongs, and when that changes (control plane 1.8, 1.9)."""

from typing import Any

import msgspec
import pytest

from tests.broker.core.groups import GroupWorld, numbered
from tests.broker.core.test_control_groups import refused
from tests.broker.core.world import endings
from thingjobs_broker.core import membership, paging
from thingjobs_broker.core.ports import NoNotices, Ports, Presence, Rules
from thingjobs_broker.core.service import JobsService
from thingjobs_protocol.status import JobExecutionStatus as Status

REGISTRY = {"thingIndexingMode": "REGISTRY"}
STATUS = REGISTRY | {"thingConnectivityIndexingMode": "STATUS"}


class Connected:
    """Things that are connected, as a test says."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def of(self, thing_name: str) -> Presence:
        return Presence(is_connected=thing_name in self.names, since_ms=5)


class IndexedWorld(GroupWorld):
    """A world whose things can be searched."""

    def __init__(self, *things: str, rules: Rules | None = None, **configuration: str) -> None:
        self.connected = Connected()
        super().__init__(*things, rules=rules)
        self.control("UpdateIndexingConfiguration", thingIndexingConfiguration=REGISTRY | configuration)

    def _new_service(self) -> JobsService:
        ports = Ports(rules=self.ports.rules, presences=self.connected)
        return JobsService(self.state, self._new_id, self.naming, ports=ports)

    def dynamic(self, group_name: str, query: str) -> dict[str, Any]:
        """Make a dynamic group."""
        return self.control("CreateDynamicThingGroup", thingGroupName=group_name, queryString=query)

    def members(self, group_name: str) -> list[str]:
        names: list[str] = self.control("ListThingsInThingGroup", thingGroupName=group_name)["things"]
        return names

    def attributes(self, thing_name: str, **attributes: str) -> list[str]:
        """Set attributes; what was sent."""
        payload = {"attributes": attributes, "merge": True}
        return endings(self.call("UpdateThing", {"thingName": thing_name, "attributePayload": payload}))

    def connect(self, thing_name: str, *, connected: bool = True) -> list[str]:
        """A thing comes or goes."""
        (self.connected.names.add if connected else self.connected.names.discard)(thing_name)
        return endings(self._take(self.service.connection_changed(thing_name, self.now_ms)))


def test_members_follow_their_attributes_and_jobs_follow_the_members() -> None:
    """CONTINUOUS jobs on dynamic groups (1.9 "Re-evaluation", 2.5)."""
    world = IndexedWorld("A", "B")
    world.attributes("A", site="berlin")
    answer = world.dynamic("berlin", "attributes.site:berlin")
    assert answer["indexName"] == "AWS_Things"
    assert answer["queryString"] == "attributes.site:berlin"
    assert answer["queryVersion"] == "2017-09-30"
    assert world.members("berlin") == ["A"]
    world.create_job("J1", "berlin", targetSelection="CONTINUOUS")
    assert world.attributes("B", site="BERLIN") == ["accepted", "notify", "notify-next"]
    assert world.attributes("A", site="paris") == ["accepted", "notify", "notify-next", "removed"]
    assert world.attributes("A", floor="2") == ["accepted"]
    assert len(world.records) == 1
    world.control("CreateThing", thingName="C", attributePayload={"attributes": {"site": "berlin"}})
    assert world.members("berlin") == ["B", "C"]
    assert world.execution("C", "J1").status is Status.QUEUED
    world.control("DeleteThing", thingName="B")
    assert world.members("berlin") == ["C"]
    world.restart()


def test_a_device_that_registers_itself_joins() -> None:
    """Auto-registration is registration."""
    world = IndexedWorld()
    world.dynamic("presses", "thingName:press*")
    world.device("press-7", "get")
    assert world.members("presses") == ["press-7"]


def test_a_large_fleet_is_looked_at_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """BUILDING until all are; a restart goes on; a changed query looks at all again: REBUILDING (1.9)."""
    monkeypatch.setattr(membership, "LOOKS_SLICE", 4)
    world = IndexedWorld(*numbered(10))

    def status() -> str:
        found: str = world.control("DescribeThingGroup", thingGroupName="even")["status"]
        return found

    world.dynamic("even", "thingName:*0 OR thingName:T00002")
    assert status() == "BUILDING"
    world.restart()
    world.advance(1)
    assert (status(), world.members("even")) == ("ACTIVE", ["T00000", "T00002"])
    change = {"thingGroupName": "even", "thingGroupProperties": {}, "queryString": "thingName:*9"}
    assert world.control("UpdateDynamicThingGroup", **change) == {"version": 2}
    assert status() == "REBUILDING"
    world.advance(1)
    assert (status(), world.members("even")) == ("ACTIVE", ["T00009"])
    world.restart()


def test_queries_may_look_at_static_groups_and_at_each_other() -> None:
    """Membership is indexed data, too; groups that deny each other come to an end (1.9)."""
    world = IndexedWorld("T")
    world.group("static")
    world.dynamic("follows", "thingGroupNames:static")
    world.dynamic("too", "thingGroupNames:follows")
    world.dynamic("never", "NOT thingGroupNames:never")
    world.join("T", "static")
    assert {"follows", "too"} <= {
        group["groupName"] for group in world.control("ListThingGroupsForThing", thingName="T")["thingGroups"]
    }
    world.leave("T", "static")
    assert (world.members("follows"), world.members("too")) == ([], [])
    world.restart()


def test_a_full_thing_gives_up_its_newest_dynamic_group() -> None:
    """For an older one, and for a static one if asked to (1.9, "10-group limit")."""
    world = IndexedWorld("T", rules=Rules(groups_per_thing_max=2))
    world.dynamic("oldest", "attributes.a:1")
    world.dynamic("older", "thingName:T")
    world.dynamic("newer", "thingName:T")
    world.dynamic("newest", "thingName:T")
    assert world.thing("T").groups == tuple(world.state.group_ids[name] for name in ("older", "newer"))
    world.attributes("T", a="1")
    assert [world.members(name) for name in ("oldest", "older", "newer")] == [["T"], ["T"], []]
    world.group("static")
    request = {"thingName": "T", "thingGroupName": "static"}
    code, message = refused(world, "AddThingToThingGroup", **request)
    assert code == "InvalidRequest"
    assert "overrideDynamicGroups" in message
    world.control("AddThingToThingGroup", **request, overrideDynamicGroups=True)
    assert [world.members(name) for name in ("oldest", "older", "static")] == [["T"], [], ["T"]]
    world.leave("T", "static")
    assert [world.members(name) for name in ("oldest", "older")] == [["T"], ["T"]]


def test_a_thing_that_does_not_join_is_noted_and_nothing_is_refused() -> None:
    """Control plane 1.9, "10-group limit": no API error, but a log line; see `LoggedNotices`."""
    noted: list[tuple[str, str]] = []

    class Noted(NoNotices):
        def left_out(self, thing_name: str, group_name: str) -> None:
            noted.append((thing_name, group_name))

    world = IndexedWorld("T", rules=Rules(groups_per_thing_max=1))
    ports = world.service._ports
    world.service._ports = msgspec.structs.replace(ports, notices=Noted())
    world.group("static", "T")
    world.dynamic("full", "thingName:T")
    assert (world.members("full"), noted) == ([], [("T", "full")])


def test_groups_of_what_is_connected_follow_connections() -> None:
    """Only with thingConnectivityIndexingMode STATUS; a restart looks at all anew (1.9)."""
    world = IndexedWorld("A", "B")
    world.dynamic("online", "connectivity.connected:true")
    world.create_job("J1", "online", targetSelection="CONTINUOUS")
    assert world.connect("A") == []
    assert world.members("online") == []
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=STATUS)
    world.advance(1)
    assert world.members("online") == ["A"]
    assert world.connect("B") == ["notify", "notify-next"]
    assert world.connect("B", connected=False) == ["notify", "notify-next", "removed"]
    assert world.connect("nobody") == []
    world.connected.names.clear()
    world.restart()
    world._take(world.service.started("boot", 0, world.now_ms))
    world.advance(1)
    assert world.members("online") == []
    world.restart()


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"queryString": "nonsense.field:1"}, "InvalidQuery"),
        ({"queryString": "   "}, "InvalidRequest"),
        ({"queryString": "a OR b OR c OR d OR e OR f"}, "InvalidQuery"),
        ({"queryString": "thingName:x", "indexName": "other"}, "InvalidRequest"),
        ({"queryString": "thingName:x", "queryVersion": "2016-01-01"}, "InvalidRequest"),
        ({"queryString": "thingName:x", "thingGroupName": "static"}, "ResourceAlreadyExists"),
        ({"queryString": "thingName:x", "thingGroupName": "dynamic"}, "ResourceAlreadyExists"),
    ],
)
def test_what_is_no_dynamic_group_is_refused(members: dict[str, str], code: str) -> None:
    """At most five terms (1.9), the one index, the one version, one group of a name."""
    world = IndexedWorld("T")
    world.group("static")
    world.dynamic("dynamic", "thingName:T")
    assert refused(world, "CreateDynamicThingGroup", **{"thingGroupName": "new"} | members)[0] == code


def test_kinds_of_groups_are_not_confused() -> None:
    """No static operation on a dynamic group, nor the other way about; no hierarchy (1.9)."""
    world = IndexedWorld("T")
    world.group("static")
    world.dynamic("dynamic", "thingName:T")
    for operation, name in (
        ("UpdateThingGroup", "dynamic"),
        ("UpdateDynamicThingGroup", "static"),
        ("DeleteThingGroup", "dynamic"),
        ("DeleteDynamicThingGroup", "static"),
    ):
        members: dict[str, Any] = {"thingGroupName": name}
        members |= {"thingGroupProperties": {}} if operation.startswith("Update") else {}
        assert refused(world, operation, **members)[0] == "InvalidRequest"
    assert refused(world, "AddThingToThingGroup", thingName="T", thingGroupName="dynamic")[0]
    child = {"thingGroupName": "child", "parentGroupName": "dynamic"}
    assert refused(world, "CreateThingGroup", **child)[0] == "InvalidRequest"


def test_dynamic_groups_are_counted_and_deleted() -> None:
    """LimitExceeded beyond the limit; a missing group is deleted with success (1.8)."""
    world = IndexedWorld("T", rules=Rules(dynamic_groups_max=1))
    answer = world.dynamic("one", "thingName:T")
    assert world.dynamic("one", "thingName:T") == answer
    two = {"thingGroupName": "two", "queryString": "thingName:T"}
    assert refused(world, "CreateDynamicThingGroup", **two)[0] == "LimitExceeded"
    assert refused(
        world, "UpdateIndexingConfiguration", thingIndexingConfiguration={"thingIndexingMode": "OFF"}
    )
    world.control("DeleteDynamicThingGroup", thingGroupName="one", expectedVersion=1)
    world.control("DeleteDynamicThingGroup", thingGroupName="one")
    assert (world.thing("T").groups, world.state.queries) == ((), {})
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration={"thingIndexingMode": "OFF"})
    assert refused(world, "CreateDynamicThingGroup", **two)[0] == "InvalidRequest"
    world.restart()


def test_search_finds_things_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends after so many looks, whatever it holds; the next goes on (1.8)."""
    world = IndexedWorld(*numbered(10), thingConnectivityIndexingMode="STATUS")
    world.group("G", "T00003")
    world.attributes("T00003", site="berlin")
    world.connect("T00003")
    (found,) = world.control("SearchIndex", queryString="berlin")["things"]
    assert found == {
        "thingName": "T00003",
        "thingId": found["thingId"],
        "thingGroupNames": ["G"],
        "attributes": {"site": "berlin"},
        "connectivity": {"connected": True, "timestamp": 5},
    }
    monkeypatch.setattr(paging, "LOOKS_MAX", 4)
    sizes: list[int] = []
    token = ""
    while token or not sizes:
        more: dict[str, str] = {"nextToken": token} if token else {}
        answer = world.control("SearchIndex", queryString="thingName:T0000? AND NOT berlin", **more)
        sizes.append(len(answer["things"]))
        token = answer.get("nextToken", "")
    assert sizes == [3, 4, 2]
    token = world.control("SearchIndex", queryString="thingName:T0000?")["nextToken"]
    other = {"queryString": "thingName:T*", "nextToken": token}
    assert refused(world, "SearchIndex", **other)[0] == "InvalidRequest"
    assert refused(world, "SearchIndex", queryString="thingName:[a TO")[0] == "InvalidQuery"
    assert refused(world, "SearchIndex", queryString=" ")[0] == "InvalidRequest"


def test_search_needs_an_index() -> None:
    """Indexing OFF: ResourceNotFound; its configuration and status are shown (1.8)."""
    world = GroupWorld("T")
    assert refused(world, "SearchIndex", queryString="*")[0] == "ResourceNotFound"
    assert world.control("ListIndices") == {"indexNames": []}
    assert world.control("GetIndexingConfiguration") == {
        "thingIndexingConfiguration": {"thingIndexingMode": "OFF"},
        "thingGroupIndexingConfiguration": {"thingGroupIndexingMode": "OFF"},
    }
    world.control("UpdateIndexingConfiguration", thingIndexingConfiguration=STATUS)
    assert world.control("GetIndexingConfiguration")["thingIndexingConfiguration"] == STATUS
    assert world.control("ListIndices") == {"indexNames": ["AWS_Things"]}
    assert world.control("DescribeIndex", indexName="AWS_Things") == {
        "indexName": "AWS_Things",
        "indexStatus": "ACTIVE",
        "schema": "REGISTRY_AND_CONNECTIVITY_STATUS",
    }
    assert refused(world, "DescribeIndex", indexName="x")[0] == "ResourceNotFound"
    world.restart()


def test_thing_groups_have_no_index_whatever_is_configured() -> None:
    """1.9 has no fields of groups: AWS_ThingGroups is ResourceNotFound by name, on or off; 1.8: the setting
    is kept, and no dynamic group can have that index.
    """
    world = GroupWorld("T")
    configuration = {
        "thingIndexingConfiguration": REGISTRY,
        "thingGroupIndexingConfiguration": {"thingGroupIndexingMode": "ON"},
    }
    for is_configured in (False, True):
        if is_configured:
            world.control("UpdateIndexingConfiguration", **configuration)
        for operation, members in (("SearchIndex", {"queryString": "*"}), ("DescribeIndex", {})):
            code, message = refused(world, operation, indexName="AWS_ThingGroups", **members)
            assert (code, "AWS_ThingGroups not found: thing groups" in message) == ("ResourceNotFound", True)
            assert "ListThingGroups" in message
    assert world.control("GetIndexingConfiguration") == configuration
    assert world.control("ListIndices") == {"indexNames": ["AWS_Things"]}
    dynamic = {"thingGroupName": "D", "queryString": "*", "indexName": "AWS_ThingGroups"}
    code, message = refused(world, "CreateDynamicThingGroup", **dynamic)
    assert (code, "AWS_ThingGroups" in message) == ("InvalidRequest", True)
    assert refused(world, "SearchIndex", queryString="*", indexName="x")[1].endswith("expected AWS_Things")


def test_events_that_are_turned_off_are_not_published() -> None:
    """JOB and JOB_EXECUTION are on unless they are turned off (1.8, 2.6)."""
    world = GroupWorld("T")
    shown = world.control("DescribeEventConfigurations")
    on = {name for name, value in shown["eventConfigurations"].items() if value["Enabled"]}
    assert (on, "creationDate" in shown) == ({"JOB", "JOB_EXECUTION"}, False)
    off = {"JOB_EXECUTION": {"Enabled": False}}
    world.control("UpdateEventConfigurations", eventConfigurations=off)
    world.create_job("J1", "T")
    assert endings(world.update("T", "J1", "SUCCEEDED"))[-1] == "completed"
    assert "succeeded" not in endings(world.update("T", "J1", "SUCCEEDED"))
    world.control("UpdateEventConfigurations", eventConfigurations={"JOB": {"Enabled": False}})
    shown = world.control("DescribeEventConfigurations")
    assert not any(value["Enabled"] for value in shown["eventConfigurations"].values())
    assert shown["creationDate"] == shown["lastModifiedDate"] == 1_700_000_000.0
    world.create_job("J2", "T")
    assert endings(world.update("T", "J2", "SUCCEEDED")) == ["accepted", "notify", "notify-next"]
    world.restart()


def test_the_endpoint_is_that_of_the_broker() -> None:
    """Data and Data-ATS; what is not served is InvalidRequest (1.8)."""
    world = GroupWorld()
    world.ports = Ports(endpoints={"iot:Data": "broker.example"})
    world.service = world._new_service()
    for members in ({}, {"endpointType": "iot:Data"}, {"endpointType": "iot:Data-ATS"}):
        assert world.control("DescribeEndpoint", **members) == {"endpointAddress": "broker.example"}
    assert refused(world, "DescribeEndpoint", endpointType="iot:Jobs")[0] == "InvalidRequest"
