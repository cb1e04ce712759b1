"""What a term of a query means on the indexed data of one thing (spec: control plane 1.9, "Matching"). Builds
predicates; the language is read in `query`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

ANY: Final = "*"
"""The field of a term that names none."""

COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}

Symbol = tuple[str, bool]
"""A character, and whether it is a wildcard."""

STAR: Final[Symbol] = ("*", True)
QUESTION: Final[Symbol] = ("?", True)

FIELDS_SHOWN: Final = (
    *("thingName", "thingId", "thingTypeName", "thingGroupNames", "attributes.NAME"),
    *("connectivity.connected", "connectivity.timestamp", "connectivity.disconnectReason"),
    *(
        "shadow.reported.PATH",
        "shadow.desired.PATH",
        "shadow.hasDelta",
        "shadow.name.NAME. with any of these",
    ),
)
_CONNECTIVITY: Final = frozenset({"connected", "timestamp", "disconnectReason"})
_SHADOW: Final = re.compile(r"shadow\.(?:name\.([^.]+)\.)?(hasDelta|(reported|desired)\.(.+))", re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,3})?", re.ASCII)


class Indexed(msgspec.Struct, frozen=True):
    """The data of one thing that queries look at.

    `connectivity` has the members connected (bool), timestamp (ms) and disconnectReason; {} while it is not
    indexed. `shadows` maps a shadow's name, "" for the classic one, to its reported, desired and hasDelta.
    """

    thing_name: str
    thing_id: str = ""
    thing_type_name: str = ""
    thing_group_names: Sequence[str] = ()
    attributes: Mapping[str, str] = {}
    connectivity: Mapping[str, Any] = {}
    shadows: Mapping[str, Mapping[str, Any]] = {}


Predicate = Callable[[Indexed], bool]
_Values = Callable[[Indexed], Iterable[Any]]


def is_field(name: str) -> bool:
    """Tell whether there is a field of this name; case matters."""
    return name in _PLAIN or _SHADOW.fullmatch(name) is not None or _member(name) is not None


def any_of(parts: list[Predicate]) -> Predicate:
    """Return what holds where one of the parts holds."""
    return parts[0] if len(parts) == 1 else lambda indexed: any(part(indexed) for part in parts)


def all_of(parts: list[Predicate]) -> Predicate:
    """Return what holds where all the parts hold."""
    return parts[0] if len(parts) == 1 else lambda indexed: all(part(indexed) for part in parts)


def negated(part: Predicate) -> Predicate:
    """Return what holds where the part does not, also where the field is missing."""
    return lambda indexed: not part(indexed)


def equal(field: str | None, text: str) -> Predicate:
    """Return the predicate of a phrase: a value of the field (None: of any) is this text, `*` and all."""
    return like(field, [(character, False) for character in text])


def like(field: str | None, symbols: Sequence[Symbol]) -> Predicate:
    """Return the predicate of a word with or without wildcards; a lone `*` asks whether the field exists.

    Text is compared without regard to case; a value that is a number (in a shadow) by its value.
    """
    if list(symbols) == [STAR]:
        return (lambda _indexed: True) if field is None else _holds(field, lambda _value: True)
    matches = _glob(symbols)
    is_literal = not any(is_wild for _, is_wild in symbols)
    number = _number("".join(character for character, _ in symbols)) if is_literal else None

    def test(value: object) -> bool:
        if number is not None and isinstance(value, int | float):
            return _number(value) == number
        text = _text(value)
        return text is not None and matches(text)

    return _holds(field, test)


def compared(field: str, comparison: str, bound: str) -> Predicate:
    """Return the predicate of `field>bound` and its kind.

    A bound that is a number is compared with values that are numbers, also those written as text, and no
    other value matches; any other bound is compared as text, without regard to case.
    """
    compare = COMPARISONS[comparison]
    number = _number(bound)
    if number is not None:
        return _holds(field, lambda value: (own := _number(value)) is not None and compare(own, number))
    lowered = bound.lower()
    return _holds(field, lambda value: (own := _text(value)) is not None and compare(own, lowered))


def _holds(field: str | None, test: Callable[[Any], bool]) -> Predicate:
    """A missing field has no value, so it never matches; of several values one suffices."""
    values = _everything if field is None else _values(field)
    return lambda indexed: any(test(value) for value in values(indexed))


_PLAIN: Final[dict[str, _Values]] = {
    "thingName": lambda indexed: (indexed.thing_name,),
    "thingId": lambda indexed: (indexed.thing_id,) if indexed.thing_id else (),
    "thingTypeName": lambda indexed: (indexed.thing_type_name,) if indexed.thing_type_name else (),
    "thingGroupNames": lambda indexed: indexed.thing_group_names,
}


def _member(name: str) -> _Values | None:
    """Return how to read `attributes.NAME` and `connectivity.NAME`."""
    root, _, member = name.partition(".")
    if root == "attributes" and member:
        return lambda indexed: _list(indexed.attributes.get(member))
    if root == "connectivity" and member in _CONNECTIVITY:
        return lambda indexed: _list(indexed.connectivity.get(member))
    return None


def _values(field: str) -> _Values:
    shadow = _SHADOW.fullmatch(field)
    if shadow is not None:
        name, member, part, path = shadow.groups()
        keys = [part, *path.split(".")] if part else [member]
        return lambda indexed: _list(_at(indexed.shadows.get(name or ""), keys))
    values = _PLAIN.get(field) or _member(field)
    assert values is not None, field
    return values


def _at(value: object, keys: list[str]) -> object:
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _list(value: object) -> Iterable[Any]:
    """Values to test: those of an array each, none of null."""
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)


def _everything(indexed: Indexed) -> Iterator[Any]:
    """Every value of every field, for terms that name none."""
    for values in _PLAIN.values():
        yield from values(indexed)
    waiting: list[object] = [indexed.attributes, indexed.connectivity, indexed.shadows]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif value is not None:
            yield value


def _text(value: object) -> str | None:
    """Return a scalar as lower-case text, None for an object."""
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else None


def _number(value: object) -> Decimal | None:
    """Return the number that a value is or spells, exactly; None for anything else."""
    if not isinstance(value, str | int | float):
        return None
    # A boolean is none: True spells no number.
    text = value if isinstance(value, str) else repr(value)
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _glob(symbols: Sequence[Symbol]) -> Callable[[str], bool]:
    """Return a matcher of lower-case text; its work is bounded by the text's length times the term's."""
    segments: list[list[Symbol]] = [[]]
    for symbol in symbols:
        if symbol == STAR:
            segments.append([])
        else:
            segments[-1].append(symbol)
    first, *rest = [
        re.compile("".join("." if wild else re.escape(text.lower()) for text, wild in segment), re.DOTALL)
        for segment in segments
    ]
    if not rest:
        return lambda text: first.fullmatch(text) is not None
    *middle, last = rest
    last_width = sum(len(character.lower()) for character, _ in segments[-1])

    def matches(text: str) -> bool:
        found = first.match(text)
        end = len(text) - last_width
        for segment in middle:
            # The leftmost place leaves the most room for what follows.
            found = segment.search(text, found.end(), end) if found and found.end() <= end else None
        return found is not None and found.end() <= end and last.fullmatch(text, end) is not None

    return matches
