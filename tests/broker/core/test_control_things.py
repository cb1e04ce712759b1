"""The registry's operations on things, as they should go; test_control holds every way to be refused."""

from typing import Any

from tests.broker.core.world import World

ARN = "arn:aws:iot:local:000000000000:"


def test_create_thing_registers_and_repeats() -> None:
    """The same again is a success with the same ids (control plane 1.8)."""
    world = World()
    attributes = {"attributes": {"site": "a/b", "n": ""}, "merge": True}
    answer = world.control("CreateThing", thingName="a:b", attributePayload=attributes)
    assert answer == {"thingName": "a:b", "thingArn": f"{ARN}thing/a:b", "thingId": "id-1"}
    assert world.control("CreateThing", thingName="a:b", attributePayload=attributes) == answer
    assert world.records == []


def test_list_things_filters_by_attribute() -> None:
    """Filters are combined with AND, in the order of creation (control plane 1.8)."""
    world = World("A")
    for name, attributes in (("B", {"site": "x"}), ("C", {"site": "y", "rack": "x"})):
        world.control("CreateThing", thingName=name, attributePayload={"attributes": attributes})

    def names(**members: Any) -> list[str]:
        return [thing["thingName"] for thing in world.control("ListThings", **members)["things"]]

    assert names() == ["A", "B", "C"]
    assert names(attributeName="site") == ["B", "C"]
    assert names(attributeName="site", attributeValue="x") == ["B"]
    assert names(attributeValue="x") == ["B", "C"]
    assert names(thingTypeName="type") == []
    assert world.control("ListThings")["things"][1] == {
        "thingName": "B",
        "thingArn": f"{ARN}thing/B",
        "attributes": {"site": "x"},
        "version": 1,
    }
