"""Lists that the garbage collector does not look through.

A full collection looks at every entry of every list: 25 ms for a million, within which nobody is answered. A
list of what can be part of no cycle, such as structs with `gc=False`, has nothing to be found in it.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

_untrack: Final = ctypes.pythonapi.PyObject_GC_UnTrack
_untrack.argtypes = [ctypes.py_object]
_untrack.restype = None


def untracked(items: list[Any]) -> list[Any]:
    """Return `items` itself, which no collection will look through however much it grows.

    For lists of objects that the collector does not track either, and None. CPython's own interface: a list
    that is not tracked is freed as any other.
    """
    _untrack(items)
    return items
