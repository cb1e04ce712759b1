"""A file system that forgets: what may be on disk after a power cut at any point of a sequence of calls.

What was not synced may be there, not there, in part, or as zeros; a name that was not synced may be the old
or the new one. Made from the calls a program really made, in one directory.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@dataclasses.dataclass
class _File:
    synced: bytes = b""
    data: bytes = b""

    def possible(self) -> Iterator[bytes]:
        """Every content it may have after the cut."""
        yield self.data
        if self.data != self.synced:
            yield self.synced
            yield bytes(len(self.data))
            yield from (self.data[:end] for end in range(0, len(self.data), 37))


@dataclasses.dataclass
class Disk:
    """One directory. `names` are those in use, `synced_names` those that a power cut leaves for sure."""

    files: list[_File]
    names: dict[str, int]
    synced_names: dict[str, int]

    def after_cut(self) -> Iterator[dict[str, bytes]]:
        """Every directory that may be found after the cut."""
        for names in (self.names, self.synced_names):
            contents = [list(dict.fromkeys(self.files[file].possible())) for file in names.values()]
            for chosen in itertools.product(*contents):
                yield dict(zip(names, chosen, strict=True))


class Recorder:
    """Watches the calls of `os` on one directory, and keeps the disk as it is after each."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        files = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
        names = {name: number for number, name in enumerate(files)}
        self.disk = Disk([_File(data, data) for data in files.values()], names, dict(names))
        self.states = [copy.deepcopy(self.disk)]
        self._opened: dict[int, str] = {}
        for name in ("open", "write", "fsync", "close", "rename"):
            real = getattr(os, name)
            monkeypatch.setattr(os, name, self._watched(getattr(self, "_" + name), real))

    def _watched(self, note: Any, real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            result = real(*arguments, **options)
            note(result, *arguments)
            self.states.append(copy.deepcopy(self.disk))
            return result

        return call

    def _open(self, descriptor: int, path: Any, flags: int, *_: Any) -> None:
        path = Path(path)
        if self._directory not in (path, path.parent):
            return
        self._opened[descriptor] = path.name if path != self._directory else ""
        if flags & os.O_CREAT and path.name not in self.disk.names:
            self.disk.files.append(_File())
            self.disk.names[path.name] = len(self.disk.files) - 1
        if flags & os.O_TRUNC:
            self._file(descriptor).data = b""

    def _write(self, count: int, descriptor: int, data: Any) -> None:
        if descriptor in self._opened:
            self._file(descriptor).data += bytes(data)[:count]

    def _fsync(self, _: None, descriptor: int) -> None:
        if self._opened.get(descriptor) == "":
            self.disk.synced_names = dict(self.disk.names)
        elif descriptor in self._opened:
            file = self._file(descriptor)
            file.synced = file.data

    def _close(self, _: None, descriptor: int) -> None:
        self._opened.pop(descriptor, None)

    def _rename(self, _: None, source: Any, target: Any) -> None:
        self.disk.names[Path(target).name] = self.disk.names.pop(Path(source).name)

    def _file(self, descriptor: int) -> _File:
        return self.disk.files[self.disk.names[self._opened[descriptor]]]
