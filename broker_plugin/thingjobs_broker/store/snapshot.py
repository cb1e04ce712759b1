"""The snapshot container: a stream of msgpack objects that is either wholly there or not used.

Decides how a snapshot becomes durable and which one is trusted. What the objects mean, and when to take one,
is the caller's.
"""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager, suppress
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from zlib import crc32

import msgpack
import structlog

from thingjobs_broker.store.errors import FormatUnsupported, RecordTooLarge, SnapshotFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from thingjobs_broker.store.files import Files

#   header   magic 8s · format version u32 · journal position u64 · crc32 of these
#   block    crc32 u32 of the rest · payload length u32 · object count u32 · payload: so many msgpack objects
#   trailer  a block of no objects; payload: blocks u64 · objects u64 · crc32 of the blocks' checksums
#
# All integers are little-endian; the trailer ends the file. Written aside as `<position>.tmp`, synced, then
# renamed to `<position>.snapshot`. The position is the journal's at the START of the snapshot: recovery
# applies the records after it, so those that a fuzzy snapshot holds already are applied twice.

MAGIC = b"thingsnp"
FORMAT_VERSION = 1
BLOCK_BYTES = 256 * 1024
OBJECT_BYTES_MAX = 16 * 1024 * 1024
SYNC_BYTES = 4 * 1024 * 1024
"""Synced piece by piece: one sync of everything at the end would hold up the journal's on the same disk."""

LOOK_AT_DISK = "no snapshot can be read; look at the disk, then start again"

_HEADER = Struct("<8sIQ")
_CRC = Struct("<I")
_BLOCK = Struct("<III")
_TRAILER = Struct("<QQI")
_HEADER_BYTES = _HEADER.size + _CRC.size
_PAYLOAD_BYTES_MAX = BLOCK_BYTES + OBJECT_BYTES_MAX
_SNAPSHOT_NAME = re.compile(r"(\d{20})\.snapshot")
_LEFTOVER_NAME = re.compile(r"(\d{20})\.(?:tmp|damaged)")

logger = structlog.get_logger(__name__)


class Snapshot(NamedTuple):
    """A verified snapshot. `objects` reads it once, in order; it may raise SnapshotFailed."""

    position: int
    size_bytes: int
    objects: Iterator[Any]


class SnapshotWriter:
    """Writes one snapshot. `add` or `add_packed` slices, then `commit`; leaving a `with` without it aborts.

    All methods raise SnapshotFailed when the disk refuses; then abort. The journal is unharmed, and so are
    older snapshots.
    """

    def __init__(self, files: Files, directory: Path, position: int) -> None:
        """Begin the snapshot of journal `position` in `directory`; the parent of `directory` must exist."""
        self._files = files
        self._directory = directory
        self._aside = directory / f"{position:020d}.tmp"
        self._path = snapshot_path(directory, position)
        self._pack = msgpack.Packer().pack
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._offset = self._synced = 0
        self._blocks = self._objects = self._blocks_crc = 0
        with _naming(self._aside):
            files.make_directory(directory)
            files.sync_directory(directory.parent)
            self._file = files.create(self._aside)
        header = _HEADER.pack(MAGIC, FORMAT_VERSION, position)
        try:
            self._write(header + _CRC.pack(crc32(header)))
        except BaseException:
            self.abort()
            raise

    def add(self, objects: Iterable[Any]) -> None:
        """Add `objects` in order, each of at most OBJECT_BYTES_MAX packed (RecordTooLarge)."""
        self.add_packed(self._pack(item) for item in objects)

    def add_packed(self, objects: Iterable[bytes]) -> None:
        """Add `objects` in order, each one msgpack object of at most OBJECT_BYTES_MAX (RecordTooLarge)."""
        for packed in objects:
            if len(packed) > OBJECT_BYTES_MAX:
                raise RecordTooLarge(len(packed), OBJECT_BYTES_MAX)
            self._pending.append(packed)
            self._pending_bytes += len(packed)
            if self._pending_bytes >= BLOCK_BYTES:
                self._flush()

    def commit(self) -> Path:
        """Make the snapshot durable under its name, which is returned."""
        if self._pending:
            self._flush()
        trailer, _ = _encode_block(_TRAILER.pack(self._blocks, self._objects, self._blocks_crc), 0)
        self._write(trailer)
        with _naming(self._aside):
            self._file.sync()
            self._file.close()
            self._files.rename(self._aside, self._path)
            self._files.sync_directory(self._directory)
        return self._path

    def abort(self) -> None:
        """Remove what was written so far. Does nothing after `commit`, and does not raise for the disk."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._files.remove(self._aside)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    @property
    def size_bytes(self) -> int:
        """What has been written so far."""
        return self._offset

    def _flush(self) -> None:
        block, checksum = _encode_block(b"".join(self._pending), len(self._pending))
        self._write(block)
        if self._offset - self._synced >= SYNC_BYTES:
            with _naming(self._aside):
                self._file.sync_data()
            self._synced = self._offset
        self._blocks += 1
        self._objects += len(self._pending)
        self._blocks_crc = crc32(_CRC.pack(checksum), self._blocks_crc)
        self._pending.clear()
        self._pending_bytes = 0

    def _write(self, data: bytes) -> None:
        with _naming(self._aside):
            self._file.write(data, self._offset)
        self._offset += len(data)


def newest_valid(
    files: Files, directory: Path, *, read_only: bool = False, is_needed: bool = False
) -> Snapshot | None:
    """Return the newest snapshot in `directory` that is whole, or None; every byte was checked then.

    A damaged one is logged and, unless `read_only`, renamed to `<position>.damaged`, so that `prune` does not
    count on it; then the one before is tried. Raises FormatUnsupported for a whole one of a newer version,
    and SnapshotFailed; also where none is whole, but one `is_needed` and the disk did not let one be read.
    """
    refused: SnapshotFailed | None = None
    for position in reversed(positions(files, directory)):
        path = snapshot_path(directory, position)
        with _naming(path):
            try:
                size_bytes = _verify(files, path, position)
            except _DamagedError as error:
                damage = str(error)
                # What could not be read now may be read at the next start: it keeps its name.
                unreadable = error.__cause__ if isinstance(error.__cause__, OSError) else None
            else:
                return Snapshot(position, size_bytes, _objects(files, path))
            logger.warning(
                "Snapshot is damaged, falling back to the one before",
                action="snapshot_damaged",
                file=str(path),
                reason=damage,
            )
            if unreadable is not None:
                refused = refused or SnapshotFailed(path, unreadable, LOOK_AT_DISK)
            elif not read_only:
                files.rename(path, path.with_suffix(".damaged"))
    if is_needed and refused is not None:
        raise refused
    return None


def prune(files: Files, directory: Path, keep: int = 2) -> int | None:
    """Remove all but the newest `keep` snapshots, and what crashes left behind; None is under way meanwhile.

    Returns the position of the oldest snapshot kept (None: there is none): the journal is needed after it.
    """
    kept = positions(files, directory)[-keep:]
    with _naming(directory):
        for name in files.list_names(directory):
            snapshot = _SNAPSHOT_NAME.fullmatch(name)
            if (snapshot and int(snapshot[1]) not in kept) or _LEFTOVER_NAME.fullmatch(name):
                files.remove(directory / name)
        files.sync_directory(directory)
    return kept[0] if kept else None


class _DamagedError(Exception):
    """The file is not a whole snapshot; the text says where and why."""


def snapshot_path(directory: Path, position: int) -> Path:
    """Return where the snapshot of `position` is, or would be."""
    return directory / f"{position:020d}.snapshot"


def find_damage(files: Files, path: Path, position: int) -> str | None:
    """Read the whole of `path` and return why it is not the snapshot of `position`, or None when it is."""
    try:
        _verify(files, path, position)
    except _DamagedError as damage:
        return str(damage)
    return None


def _verify(files: Files, path: Path, position: int) -> int:
    """Read the whole of `path` and return its size in bytes, or raise _DamagedError."""
    try:
        found_position = _read_header(files, path)
        if found_position != position:
            raise _DamagedError(f"offset 0: expected position {position}, found {found_position}")
        blocks_bytes = sum(_BLOCK.size + len(payload) for payload in _blocks(files, path))
    except OSError as error:
        # An unreadable sector is damage; any other trouble says nothing about the snapshot.
        if error.errno != errno.EIO:
            raise
        raise _DamagedError(str(error)) from error
    return _HEADER_BYTES + blocks_bytes + _BLOCK.size + _TRAILER.size


def _read_header(files: Files, path: Path) -> int:
    data = files.read(path, 0, _HEADER_BYTES)
    if len(data) < _HEADER_BYTES or _CRC.unpack_from(data, _HEADER.size)[0] != crc32(data[: _HEADER.size]):
        raise _DamagedError("offset 0: expected the header of a snapshot")
    magic, version, position = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise _DamagedError("offset 0: expected the header of a snapshot")
    if version != FORMAT_VERSION:
        raise FormatUnsupported(path, version, FORMAT_VERSION)
    return int(position)


def _blocks(files: Files, path: Path) -> Iterator[bytes]:
    """Yield the payload of each block, and return only if the trailer vouches for them and ends the file."""
    offset, blocks, objects, blocks_crc = _HEADER_BYTES, 0, 0, 0
    while True:
        payload, count, checksum = _read_block(files, path, offset)
        offset += _BLOCK.size + len(payload)
        if not count:
            break
        yield payload
        blocks += 1
        objects += count
        blocks_crc = crc32(_CRC.pack(checksum), blocks_crc)
    if payload != _TRAILER.pack(blocks, objects, blocks_crc):
        raise _DamagedError(f"offset {offset}: the trailer does not fit the {blocks} blocks before it")
    if files.read(path, offset, 1):
        raise _DamagedError(f"offset {offset}: expected the end of the file")


def _read_block(files: Files, path: Path, offset: int) -> tuple[bytes, int, int]:
    """Return (payload, object count, checksum) of the block at `offset`."""
    header = files.read(path, offset, _BLOCK.size)
    if len(header) < _BLOCK.size:
        raise _DamagedError(f"offset {offset}: expected a block, found the end of the file")
    checksum, length, count = _BLOCK.unpack(header)
    if length > _PAYLOAD_BYTES_MAX:
        raise _DamagedError(f"offset {offset}: block length {length} exceeds {_PAYLOAD_BYTES_MAX}")
    payload = files.read(path, offset + _BLOCK.size, length)
    if len(payload) < length or crc32(payload, crc32(header[_CRC.size :])) != checksum:
        raise _DamagedError(f"offset {offset}: block checksum does not fit")
    return payload, count, checksum


def _encode_block(payload: bytes, count: int) -> tuple[bytes, int]:
    """Return (the block, its checksum)."""
    checked = _BLOCK.pack(0, len(payload), count)[_CRC.size :]
    checksum = crc32(payload, crc32(checked))
    return b"".join((_CRC.pack(checksum), checked, payload)), checksum


def _objects(files: Files, path: Path) -> Iterator[Any]:
    unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=_PAYLOAD_BYTES_MAX)
    with _naming(path):
        try:
            for payload in _blocks(files, path):
                unpacker.feed(payload)
                yield from unpacker
        except _DamagedError as damage:
            # It was whole a moment ago.
            raise OSError(errno.EIO, str(damage)) from damage


def positions(files: Files, directory: Path) -> list[int]:
    """Return the positions of the snapshots in `directory`, ascending; none without a directory."""
    with _naming(directory):
        try:
            names = files.list_names(directory)
        except FileNotFoundError:
            return []
    return [int(match[1]) for match in map(_SNAPSHOT_NAME.fullmatch, names) if match]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an OSError into a SnapshotFailed that names `path`."""
    try:
        yield
    except OSError as error:
        raise SnapshotFailed(path, error) from error
