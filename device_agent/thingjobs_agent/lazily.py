"""Keeps modules out of memory that a library imports and, as we use it, never needs."""

from __future__ import annotations

import codecs
import contextlib
import gc
import importlib
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing_extensions import Buffer

LABEL_MAX: Final = 64
"""A label of a host name is shorter than this (RFC 1035, 2.3.4)."""


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


@contextlib.contextmanager
def without_types() -> Iterator[None]:
    """Let msgspec be imported without the types of `decimal` and `uuid`, which it would know in messages and
    ours do not hold: 0.5 MiB. Who imports these modules later gets them.
    """
    if "msgspec" in sys.modules:
        yield
        return
    nothing = type("Nothing", (), {"unknown": None})
    stand_ins = {"decimal": {"Decimal": nothing}, "uuid": {"UUID": nothing, "SafeUUID": nothing}}
    before = {name: sys.modules.pop(name, None) for name in stand_ins}
    for name, members in stand_ins.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(members)
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def forget(*names: str) -> None:
    """Give back the memory of modules that are not needed again; who imports one later gets it anew."""
    for name in names:
        parent, _, child = name.rpartition(".")
        if sys.modules.pop(name, None) is not None and parent in sys.modules:
            vars(sys.modules[parent]).pop(child, None)
    gc.collect()


def plain_host_names() -> None:
    """Let host names of ASCII be looked up without the tables for all others: 0.3 MiB, loaded by a name that
    needs them.
    """
    name = "encodings.idna"
    if name in sys.modules:
        return

    def whole() -> codecs.CodecInfo:
        sys.modules.pop(name, None)
        found: codecs.CodecInfo = importlib.import_module(name).getregentry()
        return found

    def encode(text: str, errors: str = "strict") -> tuple[bytes, int]:
        labels = text.split(".")
        # The last label is empty where the name ends in a dot; what else is wrong is for the codec to say.
        is_plain = text.isascii() and all(
            0 < len(label) < LABEL_MAX for label in [*labels[:-1], labels[-1] or "-"]
        )
        return (text.encode("ascii"), len(text)) if is_plain else whole().encode(text, errors)

    def decode(data: Buffer, errors: str = "strict") -> tuple[str, int]:
        return whole().decode(data, errors)

    stand_in = types.ModuleType(name)
    vars(stand_in)["getregentry"] = lambda: codecs.CodecInfo(encode, decode, name="idna")
    sys.modules[name] = stand_in
