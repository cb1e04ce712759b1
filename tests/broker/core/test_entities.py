"""What the state is made of takes little memory and loses nothing by it."""

import sys
import uuid

import hypothesis
import hypothesis.strategies as st
import pytest

from thingjobs_broker.core.entities import NO_ATTRIBUTES, Thing, packed_id


def thing(thing_id: str) -> Thing:
    """A thing with that id."""
    return Thing("A", packed_id(thing_id), 0, NO_ATTRIBUTES)


@hypothesis.given(st.uuids().map(str) | st.text() | st.text("0123456789abcdef-", max_size=40))
@hypothesis.example("00000000-0000-0000-0000-000000000000")
def test_any_thing_id_comes_back(thing_id: str) -> None:
    """A store may hold ids that are no UUIDs: of an import, or of another registry."""
    assert thing(thing_id).thing_id == thing_id


@pytest.mark.parametrize(
    "thing_id",
    [
        "",
        "id",
        "0B5F4C1E-9D1A-4B57-8C7E-5F2A6D3E1C00",
        "0b5f4c1e9d1a4b578c7e5f2a6d3e1c00",
        "0b5f4c1e-9d1a-4b57-8c7e-5f2a6d3e1c00ff",
        " b5f4c1e-9d1a-4b57-8c7e-5f2a6d3e1c00",
    ],
)
def test_what_only_resembles_a_uuid_stays_as_it_is(thing_id: str) -> None:
    """In capitals, without hyphens, too long, with a space: the same number would come back as other text."""
    assert packed_id(thing_id) == thing_id
    assert thing(thing_id).thing_id == thing_id


def test_a_uuid_takes_half_the_memory_of_its_text() -> None:
    """There is one for each of a million things."""
    thing_id = str(uuid.UUID(int=2**128 - 1))
    assert 2 * sys.getsizeof(packed_id(thing_id)) <= sys.getsizeof(thing_id) + 3
