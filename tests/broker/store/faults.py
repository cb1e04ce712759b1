"""A disk in memory that does what disks are allowed to do: tear, lose what was not synced, refuse, be full.

It knows nothing of journals. Every choice comes from the `Random` given to it, so a seed replays a disaster.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from random import Random

# What a process sees and what a power cut leaves are kept apart: writes are seen at once and survive only
# after a sync; names survive only after their directory was synced; a sync that fails leaves the data
# readable but lost, and says nothing when repeated, as on Linux.

SECTOR_BYTES = 512

# The operations that change the disk; the power can be cut at each.
CHANGES = frozenset(
    {
        *("make_directory", "create", "write", "truncate", "sync", "sync_data"),
        *("rename", "remove", "sync_directory"),
    }
)


class PowerCut(BaseException):
    """The machine is off. Not an Exception: nothing that handles errors may handle this."""


@dataclass
class Fault:
    """An operation that fails: errno `error` for `times` calls on files that match, after `skip` good ones.

    `operation` is the method of Files or WritableFile, `file` a glob on the file's name. A failing write
    writes half of its data; a failing sync loses what it should have synced.
    """

    operation: str
    error: int
    file: str = "*"
    skip: int = 0
    times: int = 1


@dataclass(eq=False)
class _Inode:
    """A file without its name: what processes see, what the platter holds, and the changes between."""

    seen: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)

    def change(self, offset: int, data: bytes | None) -> None:
        """Write `data` at `offset`, or cut the file there when `data` is None."""
        _apply(self.seen, offset, data)
        self.unsynced.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.unsynced:
            _apply(self.durable, offset, data)
        self.unsynced.clear()

    def after_power_cut(self, survives: Callable[[], bool]) -> "_Inode":
        """The file as the next boot finds it: any of the unsynced sectors, in any combination."""
        left = bytearray(self.durable)
        for offset, data in self.unsynced:
            for piece_offset, piece in _sectors(offset, data):
                if survives():
                    _apply(left, piece_offset, piece)
        return _Inode(bytearray(left), left)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(offset - len(content), 0)))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes | None) -> list[tuple[int, bytes | None]]:
    if data is None:
        return [(offset, None)]
    edges = [offset, *range((offset // SECTOR_BYTES + 1) * SECTOR_BYTES, offset + len(data), SECTOR_BYTES)]
    ends = [*edges[1:], offset + len(data)]
    return [
        (left, data[left - offset : right - offset])
        for left, right in zip(edges, ends, strict=True)
        if right > left
    ]


_DIRECTORY = _Inode()
# What names stand for after one call: a file, a directory, or nothing. It survives as one or not at all.
_Change = dict[Path, _Inode | None]


class SimulatedDisk:
    """A `Files`. `root` is a directory that is always there.

    `faults` may be changed at any time. `changes_left` counts down the changes until the power is cut
    (None: never). `capacity_bytes` is the size of the disk for file content (None: endless). `log` holds
    every change made, as (operation, file name).
    """

    def __init__(self, root: Path = Path("/disk")) -> None:
        self.root = root
        self.faults: list[Fault] = []
        self.changes_left: int | None = None
        self.capacity_bytes: int | None = None
        self.log: list[tuple[str, str]] = []
        self._seen: dict[Path, _Inode] = {root: _DIRECTORY}
        self._durable: dict[Path, _Inode] = {root: _DIRECTORY}
        self._unsynced: list[tuple[Path, _Change]] = []

    # Disasters.

    def fail(self, operation: str, error: int, *, file: str = "*", skip: int = 0, times: int = 1) -> None:
        """Let an operation fail; see Fault."""
        self.faults.append(Fault(operation, error, file, skip, times))

    def after_power_cut(self, random: Random) -> "SimulatedDisk":
        """The disk as the next boot finds it; faults and the countdown are gone, the size stays.

        Of what was not synced all, nothing, or any part survives: sectors of writes, and changes of names,
        each on its own.
        """
        chance = random.choice([0.0, 0.5, 0.9, 1.0])

        def survives() -> bool:
            return random.random() < chance

        after = SimulatedDisk(self.root)
        after.capacity_bytes = self.capacity_bytes
        names = dict(self._durable)
        for _, change in self._unsynced:
            if survives():
                _rename(names, change)
        reborn: dict[int, _Inode] = {id(_DIRECTORY): _DIRECTORY}
        for path, inode in sorted(names.items()):
            if path == self.root or path.parent in after._durable:
                if id(inode) not in reborn:
                    reborn[id(inode)] = inode.after_power_cut(survives)
                after._durable[path] = after._seen[path] = reborn[id(inode)]
        return after

    def corrupt(self, path: Path, offset: int, mask: int = 0xFF) -> None:
        """Flip the bits of `mask` in the byte at `offset`, on the platter and in every cache."""
        inode = self._file(path)
        inode.seen[offset] ^= mask
        inode.durable[offset] ^= mask

    # Files.

    def make_directory(self, directory: Path) -> None:
        """See Files."""
        self._begin("make_directory", directory)
        if directory not in self._seen:
            self._parent_of(directory)
            self._name(directory.parent, {directory: _DIRECTORY})

    def list_names(self, directory: Path) -> list[str]:
        """See Files."""
        self._begin("list_names", directory)
        if self._seen.get(directory) is not _DIRECTORY:
            raise _missing(directory)
        return sorted(path.name for path in self._seen if path.parent == directory and path != directory)

    def create(self, path: Path) -> "SimulatedFile":
        """See Files."""
        self._begin("create", path)
        self._parent_of(path)
        if path in self._seen:
            self._file(path).change(0, None)
        else:
            self._name(path.parent, {path: _Inode()})
        return SimulatedFile(self, path, self._file(path))

    def open(self, path: Path) -> "SimulatedFile":
        """See Files."""
        self._begin("open", path)
        return SimulatedFile(self, path, self._file(path))

    def read(self, path: Path, offset: int = 0, bytes_max: int | None = None) -> bytes:
        """See Files."""
        self._begin("read", path)
        end = None if bytes_max is None else offset + bytes_max
        return bytes(self._file(path).seen[offset:end])

    def size_bytes(self, path: Path) -> int:
        """See Files."""
        return len(self._file(path).seen)

    def rename(self, path: Path, target: Path) -> None:
        """See Files."""
        self._begin("rename", path)
        self._name(path.parent, {target: self._file(path), path: None})

    def remove(self, path: Path) -> None:
        """See Files."""
        self._begin("remove", path)
        self._file(path)
        self._name(path.parent, {path: None})

    def sync_directory(self, directory: Path) -> None:
        """See Files."""
        self._begin("sync_directory", directory)
        for changed, change in self._unsynced:
            if changed == directory:
                _rename(self._durable, change)
        self._unsynced = [unsynced for unsynced in self._unsynced if unsynced[0] != directory]

    def free_bytes(self, directory: Path) -> int:
        """See Files."""
        self._begin("free_bytes", directory)
        if self.capacity_bytes is None:
            return 1 << 40
        return max(self.capacity_bytes - self._used_bytes(), 0)

    # Shared with SimulatedFile.

    def write(self, path: Path, inode: _Inode, data: bytes, offset: int) -> None:
        """See WritableFile; writes what fits before it says that the disk is full."""
        self._begin("write", path, lambda: inode.change(offset, data[: len(data) // 2]))
        if self.capacity_bytes is not None:
            growth = max(offset + len(data) - len(inode.seen), 0)
            missing = growth - max(self.capacity_bytes - self._used_bytes(), 0)
            if missing > 0:
                inode.change(offset, data[: len(data) - missing])
                raise _error(errno.ENOSPC, path)
        inode.change(offset, data)
        self._end()

    def truncate(self, path: Path, inode: _Inode, size_bytes: int) -> None:
        """See WritableFile."""
        self._begin("truncate", path)
        inode.change(size_bytes, None)
        self._end()

    def sync(self, operation: str, path: Path, inode: _Inode) -> None:
        """See WritableFile. A failing sync forgets what was unsynced: seen until the power fails."""
        self._begin(operation, path, inode.unsynced.clear)
        inode.sync()

    # Bookkeeping.

    def _begin(self, operation: str, path: Path, partly: Callable[[], None] = lambda: None) -> None:
        """Count the change and fail it if it is due, after doing it `partly`."""
        if operation in CHANGES:
            if self.changes_left is not None:
                if self.changes_left <= 0:
                    # Once off, off: what cleans up on the way out changes nothing any more.
                    raise PowerCut
                self.changes_left -= 1
                # A write under way may reach the platter in part; its power cut comes after it was recorded.
                if self.changes_left == 0 and operation not in {"write", "truncate"}:
                    raise PowerCut
            self.log.append((operation, path.name))
        for fault in self.faults:
            if fault.operation == operation and fault.times > 0 and fnmatch(path.name, fault.file):
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                partly()
                raise _error(fault.error, path)

    def _end(self) -> None:
        if self.changes_left == 0:
            raise PowerCut

    def _name(self, directory: Path, change: _Change) -> None:
        _rename(self._seen, change)
        self._unsynced.append((directory, change))

    def _file(self, path: Path) -> _Inode:
        inode = self._seen.get(path)
        if inode is None:
            raise _missing(path)
        if inode is _DIRECTORY:
            raise _error(errno.EISDIR, path)
        return inode

    def _parent_of(self, path: Path) -> None:
        if self._seen.get(path.parent) is not _DIRECTORY:
            raise _missing(path)

    def _used_bytes(self) -> int:
        return sum(len(inode.seen) for inode in {id(inode): inode for inode in self._seen.values()}.values())


class SimulatedFile:
    """A `WritableFile` on a SimulatedDisk."""

    def __init__(self, disk: SimulatedDisk, path: Path, inode: _Inode) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._closed = False

    def write(self, data: bytes, offset: int) -> None:
        """See WritableFile."""
        self._disk.write(self._path, self._open_inode(), data, offset)

    def sync_data(self) -> None:
        """See WritableFile."""
        self._disk.sync("sync_data", self._path, self._open_inode())

    def sync(self) -> None:
        """See WritableFile."""
        self._disk.sync("sync", self._path, self._open_inode())

    def truncate(self, size_bytes: int) -> None:
        """See WritableFile."""
        self._disk.truncate(self._path, self._open_inode(), size_bytes)

    def close(self) -> None:
        """See WritableFile."""
        self._closed = True

    def _open_inode(self) -> _Inode:
        assert not self._closed, f"{self._path} is used after close"
        return self._inode


def _rename(names: dict[Path, _Inode], change: _Change) -> None:
    for path, inode in change.items():
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode


def _error(code: int, path: Path) -> OSError:
    return OSError(code, os.strerror(code), str(path))


def _missing(path: Path) -> OSError:
    return _error(errno.ENOENT, path)
