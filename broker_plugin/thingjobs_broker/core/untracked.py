"""Collections that the garbage collector does not look through.

A full collection looks at every entry of every list: 25 ms for a million, within which nobody is answered.
What holds only things that can be part of no cycle, such as strings and structs with `gc=False`, has nothing
to be found in it. Dictionaries of such are not looked through anyway.
"""

from __future__ import annotations

import ctypes
from gc import is_tracked
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sortedcontainers import SortedList

if TYPE_CHECKING:
    from collections.abc import Iterable

Items = TypeVar("Items", list[Any], set[str])

_untrack: Final = ctypes.pythonapi.PyObject_GC_UnTrack
_untrack.argtypes = [ctypes.py_object]
_untrack.restype = None


def untracked(items: Items) -> Items:
    """Return `items` itself, which no collection will look through however much it grows.

    For lists and sets of objects that the collector does not track either, and None. CPython's own interface:
    what is not tracked is freed as any other. Anything else, as a damaged import may hold, stays as it is.
    """
    if is_tracked(items):
        _untrack(items)
    return items


class SortedNames(SortedList[str]):  # type: ignore[misc]
    """Strings in order; the lists of a thousand that it is made of are not tracked."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__(names)
        self._untrack_parts(0)

    def _expand(self, position: int) -> None:
        """A part has grown, and may have been split into two."""
        count = len(self._lists)
        super()._expand(position)
        if len(self._lists) > count:
            self._untrack_parts(position, position + 2)

    def _untrack_parts(self, start: int, end: int | None = None) -> None:
        for part in self._lists[start:end]:
            untracked(part)
