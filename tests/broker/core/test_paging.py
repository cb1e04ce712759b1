"""Pages of lists that grow and shrink between two calls: nothing twice, nothing skipped."""

import zlib
from collections.abc import Iterator

import hypothesis
import hypothesis.strategies as st
import pytest

from thingjobs_broker.core import paging
from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_broker.core.paging import LOOKS_MAX, page


@hypothesis.given(st.integers(0, 130), st.one_of(st.none(), st.integers(1, 40)))
def test_pages_together_are_the_list(count: int, size: int | None) -> None:
    """No token on the last page; 50 entries by default (control plane 1.6, A21)."""
    items = list(range(count))
    found: list[int] = []
    token = None
    while True:
        part, token = page(items, next_token=token, max_results=size)
        assert len(part) <= (size or 50)
        assert part or not count
        found += part
        if token is None:
            break
        assert len(part) == (size or 50)
    assert found == items


@hypothesis.given(
    st.lists(st.sampled_from(["append", "delete"]), max_size=12), st.integers(1, 5), st.integers(0, 20)
)
def test_changes_between_pages_neither_repeat_nor_skip(changes: list[str], size: int, count: int) -> None:
    """Keyset order (control plane 1.6, "Stability"): what was there all the time is listed once."""
    items: list[int | None] = list(range(count))
    always = set(range(count))
    found: list[int] = []
    token = None
    pages = 0
    while pages == 0 or token is not None:
        part, token = page(items, next_token=token, max_results=size, keep=lambda item: item % 3 != 1)
        found += part
        if pages < len(changes):
            if changes[pages] == "append":
                items.append(len(items))
            elif items:
                items[(pages * 7) % len(items)] = None
                always.discard((pages * 7) % len(items))
        pages += 1
    assert found == sorted(set(found))
    assert {item for item in always if item % 3 != 1} <= set(found)


def test_a_filter_that_nothing_meets_looks_at_a_bounded_part() -> None:
    """An empty page has a token while there is more to look at, and all the pages together see everything."""
    looked = 0

    def keep(item: int) -> bool:
        nonlocal looked
        looked += 1
        return item == 3 * LOOKS_MAX

    items = list(range(3 * LOOKS_MAX + 1))
    pages, found, token = 0, [], None
    while pages == 0 or token is not None:
        before = looked
        part, token = page(items, next_token=token, max_results=1, keep=keep)
        assert looked - before <= LOOKS_MAX
        found += part
        pages += 1
    assert (found, pages) == ([3 * LOOKS_MAX], 4)


def test_the_size_may_change_from_page_to_page() -> None:
    """Control plane 1.6, "Mixed use"."""
    items = list(range(10))
    first, token = page(items, next_token=None, max_results=3)
    second, token = page(items, next_token=token, max_results=None)
    assert (first, second, token) == ([0, 1, 2], [3, 4, 5, 6, 7, 8, 9], None)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "bm90IGEgdG9rZW4=",
        "W10=",
        "WzFd",
        "WyIxIiwyXQ==",
        "Wy0xLDFd",
        "!!!!",
        "ü",
        "😀" * 50,
        "WzEsMV0",
        "NQ==",
        "W3RydWUsMV0=",
        "bnVsbA==",
        "eyJhIjoxLCJiIjoyfQ==",
    ],
)
def test_a_token_of_somebody_else_is_refused(token: str) -> None:
    """Control plane 1.6, "Bad token": one line that shows it, shortened."""
    with pytest.raises(InvalidRequestError, match="nextToken") as refusal:
        page([1, 2, 3], next_token=token, max_results=1)
    assert len(refusal.value.message) < 150


def behind(place: paging.Place) -> Iterator[tuple[paging.Place, int]]:
    """The entries 0 to 9, each at the place of its number."""
    first = place[0] + 1 if place else 0
    return (((number,), number) for number in range(first, 10))


def test_a_filter_bounds_the_looks_of_an_ordered_list_too() -> None:
    """Control plane 1.6: an empty page has a token while there is more, and no token when nothing is left."""
    found: list[tuple[list[int], bool]] = []
    token = None
    while not found or token is not None:
        part, token = paging.page_in_order(
            behind, next_token=token, max_results=2, keep=lambda number: number in (1, 5, 6), looks_max=4
        )
        found.append((part, token is not None))
    assert found == [([1], True), ([5, 6], True), ([], False)]


def test_what_is_filtered_out_makes_no_further_page() -> None:
    """Control plane 1.6, "Tokens": absent on the last page, be it that more lies behind it."""
    part, token = paging.page_in_order(
        behind, next_token=None, max_results=2, keep=lambda number: number in (1, 5)
    )
    assert (part, token) == ([1, 5], None)


def test_a_token_belongs_to_its_kind_of_list() -> None:
    """Control plane 1.6, "Bad token": places in some lists are numbers, in others names."""
    by_number = paging._token(3, zlib.crc32(repr(()).encode()))
    with pytest.raises(InvalidRequestError, match="not a token of this service"):
        paging.place_in(by_number, ())
    with pytest.raises(InvalidRequestError, match="not a token of this service"):
        page([1, 2, 3], next_token=paging.token_of("3", ()), max_results=1)


def test_no_place_is_before_the_first() -> None:
    """Control plane 1.6, "Bad token": a token made up with a negative place begins no list from its end."""
    token = paging._token(-1, zlib.crc32(repr(()).encode()))
    with pytest.raises(InvalidRequestError, match="not a token of this service"):
        page([1, 2, 3], next_token=token, max_results=1)


@hypothesis.given(st.text(max_size=30))
def test_any_text_is_a_token_or_refused(token: str) -> None:
    """Nothing else comes out."""
    with pytest.raises(InvalidRequestError):
        page(list(range(9)), next_token=token, max_results=1)


def test_a_token_belongs_to_its_filters() -> None:
    """Control plane 1.6, "Filters"."""
    _, token = page([1, 2, 3], next_token=None, max_results=1, filters=("a", None))
    assert page([1, 2, 3], next_token=token, max_results=9, filters=("a", None)) == ([2, 3], None)
    for filters in (("b", None), (None, "a"), (), ("a",)):
        with pytest.raises(InvalidRequestError, match="filters"):
            page([1, 2, 3], next_token=token, max_results=1, filters=filters)


def test_a_token_of_a_list_that_became_short_gives_the_empty_last_page() -> None:
    """Everything behind it was deleted."""
    items: list[int | None] = [1, 2, 3]
    _, token = page(items, next_token=None, max_results=1)
    items[1] = items[2] = None
    assert page(items, next_token=token, max_results=1) == ([], None)
