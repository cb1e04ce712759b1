"""Pages of ordered lists: keyset tokens, so that inserts neither repeat nor skip entries (spec: control plane
1.6).

The lists are append-only and a deleted entry leaves a hole, so a position is a key that never moves.
"""

from __future__ import annotations

import binascii
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left
from typing import TYPE_CHECKING, TypeVar

import msgspec

from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_protocol.limits import PAGE_SIZE_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")


def page(
    items: Sequence[Item | None],
    *,
    next_token: str | None,
    max_results: int | None,
    filters: tuple[str | None, ...] = (),
    keep: Callable[[Item], bool] = lambda _: True,
) -> tuple[list[Item], str | None]:
    """Return one page of the entries that `keep` lets through, and the token of the next page, if there is
    one.

    Raises:
        InvalidRequestError: the token is none of ours, or was made with other filters.

    """
    mark = zlib.crc32(repr(filters).encode())
    position = _position(next_token, mark) if next_token is not None else 0
    limit = max_results or PAGE_SIZE_DEFAULT
    found: list[Item] = []
    for index in range(position, len(items)):
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


def _token(position: int, mark: int) -> str:
    return urlsafe_b64encode(msgspec.json.encode((position, mark))).decode()


def _position(token: str, mark: int) -> int:
    try:
        index, made_for = msgspec.json.decode(urlsafe_b64decode(token.encode()), type=tuple[int, int])
    except (ValueError, binascii.Error, msgspec.DecodeError):
        message = f"nextToken {token[:40]!r} is not a token of this service"
        raise InvalidRequestError(message) from None
    if made_for != mark or index < 0:
        message = "nextToken belongs to a request with other filters; repeat the filters of the first page"
        raise InvalidRequestError(message)
    return index
