"""ListNames and DescribeClock, which only our own command line asks for."""

import pytest

from tests.broker.core.groups import GroupWorld, numbered
from thingjobs_broker.core import control_names


def test_names_that_begin_so_are_listed_by_kind() -> None:
    """In the order of their creation; a deleted one is none, and another kind has names of its own."""
    world = GroupWorld("press-2", "press-10", "lathe", "press-1")
    world.group("presses")
    world.group("press-1")
    world.control("CreateThingType", thingTypeName="press-type")
    world.control("CreateJobTemplate", jobTemplateId="press-tpl", description="d", document="{}")
    world.create_job("press-job", "press-1")
    world.control("DeleteThing", thingName="press-10")
    found = {
        kind: world.control("ListNames", kind=kind, prefix="press")["names"]
        for kind in ("thing", "group", "type", "job", "template")
    }
    assert found == {
        "thing": ["press-2", "press-1"],
        "group": ["presses", "press-1"],
        "type": ["press-type"],
        "job": ["press-job"],
        "template": ["press-tpl"],
    }
    assert world.control("ListNames", kind="thing")["names"] == ["press-2", "lathe", "press-1"]


def test_a_page_looks_at_so_many_names_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded work per step: few or none are found then, and the next page goes on."""
    monkeypatch.setattr(control_names, "LOOKS_MAX", 10)
    world = GroupWorld(*numbered(25), "last")
    pages: list[list[str]] = []
    token: str | None = None
    while token is not None or not pages:
        more: dict[str, str] = {"nextToken": token} if token else {}
        found = world.control("ListNames", kind="thing", prefix="last", **more)
        pages.append(found["names"])
        token = found.get("nextToken")
    assert pages == [[], [], ["last"]]


def test_a_kind_that_there_is_not_is_refused() -> None:
    """With the ones that there are."""
    answer, *_ = GroupWorld().call("ListNames", {"kind": "house"})
    assert (answer.ending, answer.body["code"]) == ("rejected", "InvalidRequestException")


def test_the_services_time_is_told() -> None:
    """And that nobody may move it, where it is no clock for tests."""
    world = GroupWorld()
    assert world.control("DescribeClock") == {"now": world.now_ms / 1000, "isTestClock": False}
