"""Keeps modules out of memory that a library imports and, as we use it, never needs."""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any


def lazily(name: str) -> None:
    """Let a module be imported at the first use of something in it, whoever imports it before.

    For `urllib.request`, which paho imports for the sake of proxies (2 MiB of HTTP and mail). The standard
    library's LazyLoader does not help: before Python 3.12 a second `import` of the module is a use of it.
    """
    if name in sys.modules:
        return
    stand_in = types.ModuleType(name)

    def load(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__dict__["__getattr__"] = load
    sys.modules[name] = stand_in
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(importlib.import_module(parent), child, stand_in)


@contextlib.contextmanager
def without_signatures() -> Iterator[None]:
    """Let dataclasses be made without a signature as their docstring, for whose sake alone `inspect` would be
    loaded: 1.3 MiB with what it imports.
    """
    import dataclasses  # noqa: PLC0415 - not before `inspect` has its stand-in

    names = vars(dataclasses)
    before = names["inspect"]
    names["inspect"] = types.SimpleNamespace(signature=lambda _: "")
    try:
        yield
    finally:
        names["inspect"] = before
