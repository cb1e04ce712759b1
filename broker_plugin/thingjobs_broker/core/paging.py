"""Pages of ordered lists: keyset tokens, so that inserts neither repeat nor skip entries (spec: control plane
1.6).

The lists are append-only and a deleted entry leaves a hole, so a position is a key that never moves.
"""

from __future__ import annotations

import binascii
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_protocol.limits import PAGE_SIZE_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LOOKS_MAX: Final = 3_000
"""Entries that one page looks at ("Bounded work per step"); behind them the next page goes on."""

Item = TypeVar("Item")
Key = TypeVar("Key", int, str)


def page(
    items: Sequence[Item | None],
    *,
    next_token: str | None,
    max_results: int | None,
    filters: tuple[str | None, ...] = (),
    keep: Callable[[Item], bool] = lambda _: True,
    looks_max: int | None = None,
) -> tuple[list[Item], str | None]:
    """Return one page of the entries that `keep` lets through, and the token of the next page, if there is
    one. A page ends after `looks_max` entries (`LOOKS_MAX`), be it empty: the token says that there are more.

    Raises:
        InvalidRequestError: the token is none of ours, or was made with other filters.

    """
    mark = zlib.crc32(repr(filters).encode())
    position = _position(next_token, mark) if next_token is not None else 0
    limit = max_results or PAGE_SIZE_DEFAULT
    most = looks_max or LOOKS_MAX
    found: list[Item] = []
    for index in range(position, len(items)):
        if index - position == most:
            return found, _token(index, mark)
        item = items[index]
        if item is None or not keep(item):
            continue
        if len(found) == limit:
            return found, _token(index, mark)
        found.append(item)
    return found, None


def page_by_key(
    items: Sequence[Item],
    key: Callable[[Item], int],
    *,
    next_token: str | None,
    max_results: int | None,
    filters: tuple[str | None, ...] = (),
) -> tuple[list[Item], str | None]:
    """Return one page of entries that are sorted by an ever growing `key`, as `page` does.

    Raises:
        InvalidRequestError: as `page`.

    """
    mark = zlib.crc32(repr(filters).encode())
    start = bisect_left(items, _position(next_token, mark), key=key) if next_token is not None else 0
    end = start + (max_results or PAGE_SIZE_DEFAULT)
    following = items[end] if end < len(items) else None
    if following is None:
        return list(items[start:end]), None
    return list(items[start:end]), _token(key(following), mark)


def page_of_names(
    names_after: Callable[[str], Iterator[str]],
    *,
    next_token: str | None,
    max_results: int | None,
    filters: tuple[str | None, ...],
) -> tuple[list[str], str | None]:
    """Return one page of sorted names; `names_after` yields those behind a name, "" for all.

    Raises:
        InvalidRequestError: as `page`.

    """
    mark = zlib.crc32(repr(filters).encode())
    after = _decoded(next_token, mark, str) if next_token is not None else ""
    found = list(islice(names_after(after), (max_results or PAGE_SIZE_DEFAULT) + 1))
    if len(found) <= (max_results or PAGE_SIZE_DEFAULT):
        return found, None
    found.pop()
    return found, _token(found[-1], mark)


Place = tuple[int, ...]
"""Where an entry lies: keys that never change, from the outermost order inwards; () is before all."""


def page_in_order(
    behind: Callable[[Place], Iterator[tuple[Place, Item]]],
    *,
    next_token: str | None,
    max_results: int | None,
    filters: tuple[str | None, ...] = (),
    keep: Callable[[Item], bool] = lambda _: True,
    looks_max: int = LOOKS_MAX,
) -> tuple[list[Item], str | None]:
    """Return one page of what `behind` yields behind a place, as `page` does; it costs the same wherever it
    lies if `behind` finds its place at once.

    Raises:
        InvalidRequestError: as `page`.

    """
    place = _place(next_token, filters) if next_token is not None else ()
    limit = max_results or PAGE_SIZE_DEFAULT
    found: list[Item] = []
    for looked, (at, item) in enumerate(behind(place)):
        is_kept = keep(item)
        if looked == looks_max or (is_kept and len(found) == limit):
            return found, token_of("/".join(map(str, place)), filters)
        if is_kept:
            found.append(item)
        place = at
    return found, None


def _place(token: str, filters: tuple[str | None, ...]) -> Place:
    try:
        return tuple(map(int, filter(None, place_in(token, filters).split("/"))))
    except ValueError:
        raise _foreign(token) from None


def token_of(place: str, filters: tuple[str | None, ...]) -> str:
    """Return a token for a list that keeps its place in a way of its own."""
    return _token(place, zlib.crc32(repr(filters).encode()))


def place_in(token: str, filters: tuple[str | None, ...]) -> str:
    """Return what `token_of` was given.

    Raises:
        InvalidRequestError: as `page`.

    """
    return _decoded(token, zlib.crc32(repr(filters).encode()), str)


def _token(position: int | str, mark: int) -> str:
    return urlsafe_b64encode(msgspec.json.encode((position, mark))).decode()


def _position(token: str, mark: int) -> int:
    index = _decoded(token, mark, int)
    if index < 0:
        raise _foreign(token)
    return index


def _decoded(token: str, mark: int, kind: type[Key]) -> Key:
    try:
        found, made_for = msgspec.json.decode(urlsafe_b64decode(token.encode()), type=tuple[int | str, int])
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise _foreign(token) from None
    if not isinstance(found, kind):
        raise _foreign(token)
    if made_for != mark:
        message = "nextToken belongs to a request with other filters; repeat the filters of the first page"
        raise InvalidRequestError(message)
    return found


def _foreign(token: str) -> InvalidRequestError:
    return InvalidRequestError(f"nextToken {token[:40]!r} is not a token of this service")
