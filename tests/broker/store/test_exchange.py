"""Export and import: readable lines that make an equal state, and lines that are refused."""

import json
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from tests.broker.core.test_state import ACTIONS, perform
from tests.broker.core.world import World, picture
from thingjobs_broker.store.exchange import ImportRefused, export_lines, import_lines


@hypothesis.given(st.lists(ACTIONS, min_size=5, max_size=30))
@hypothesis.settings(max_examples=60)
def test_what_is_exported_and_imported_is_an_equal_state(actions: list[Any]) -> None:
    """Item 2: nothing is lost, and a second export is the same."""
    world = World("A", "B")
    for action in actions:
        perform(world, action)
    lines = list(export_lines(world.state))
    imported = import_lines(lines)
    assert picture(imported) == picture(world.state)
    assert list(export_lines(imported)) == lines


def example() -> list[dict[str, Any]]:
    """The lines of a small state."""
    world = World("T")
    world.create_job("J1", timeoutConfig={"inProgressTimeoutInMinutes": 5})
    world.device("T", "start-next", {"stepTimeoutInMinutes": 1, "statusDetails": {"step": "one"}})
    world.control("CancelJob", jobId="J1", force=True, comment="enough")
    return [json.loads(line) for line in export_lines(world.state)]


def test_the_lines_are_readable() -> None:
    """Names of fields, states in words, details and timelines unpacked."""
    store, thing, job, execution, end = example()
    assert end == {"end": {"lines": 4}}
    assert store["store"]["version"] == 4
    assert thing["thing"]["thing_name"] == "T"
    assert job["job"]["timeline"][1][1:] == ["CANCELED", "operator", "enough"]
    fields = execution["execution"]
    assert (fields["job_id"], fields["thing_name"], fields["status"]) == ("J1", "T", "CANCELED")
    assert fields["details"] == {"step": "one"}
    assert [entry[1] for entry in fields["timeline"]] == ["step timer set", "CANCELED"]


@pytest.mark.parametrize(
    ("number", "change", "complaint"),
    [
        (1, lambda line: {"store": line["store"] | {"version": 5}}, "version"),
        (2, lambda line: {"thing": {"index": 0, "version": 1}}, "line 2: 'thing_name' is missing"),
        (2, lambda line: {"thing": line["thing"] | {"color": 1}}, "line 2: unknown field 'color'"),
        (2, lambda line: {"thing": line["thing"] | {"index": 7}}, "do not make a state"),
        (2, lambda line: {"device": {}}, "line 2: expected a store, thing, job or execution"),
        (2, lambda line: ["thing"], "line 2: Expected `object`"),
        (2, lambda line: {}, "line 2: not enough values"),
        (4, lambda line: {"execution": line["execution"] | {"job_id": "J2"}}, "line 4: J2 is missing"),
        (4, lambda line: {"execution": line["execution"] | {"status": "GONE"}}, "line 4: GONE"),
        (
            4,
            lambda line: {"execution": line["execution"] | {"thing_name": "U", "status": "QUEUED"}},
            "do not make a state",
        ),
    ],
)
def test_a_line_that_is_none_of_ours_is_named(number: int, change: Any, complaint: str) -> None:
    """One sentence that says which line and what is wrong with it."""
    lines = example()
    lines[number - 1] = change(lines[number - 1])
    with pytest.raises(ImportRefused, match=complaint):
        import_lines([json.dumps(line).encode() for line in lines])


@pytest.mark.parametrize("lines", [[], [b"{"], [b"\xff"], [b"null"]])
def test_what_is_no_export_at_all_is_refused(lines: list[bytes]) -> None:
    """An empty file, too: it may be one that was cut off."""
    with pytest.raises(ImportRefused):
        import_lines(lines)


def test_an_export_that_was_cut_off_is_refused() -> None:
    """Its last line says how many there are; what is missing may have been deleted for all we know."""
    lines = [json.dumps(line).encode() for line in example()]
    for end in (1, 2, 3, 4):
        with pytest.raises(ImportRefused, match="found no end after"):
            import_lines(lines[:end])
    with pytest.raises(ImportRefused, match="found the end of 4 after 3 lines"):
        import_lines([*lines[:3], lines[4]])


def test_a_field_of_a_newer_version_that_is_missing_takes_its_default() -> None:
    """An export of an older version can be imported."""
    lines = example()
    del lines[2]["job"]["hides"]
    imported = import_lines([json.dumps(line).encode() for line in lines])
    assert imported.jobs["J1"].hides is False
