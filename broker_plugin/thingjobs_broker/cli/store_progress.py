"""How far long work on a store has come: bytes that were read of its files, lines of an export."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.store import JOURNAL, SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from thingjobs_broker.cli.output import Output

LINES_STEP: Final = 1000


class CountedFiles(OsFiles):
    """The disk; `advance` gets the size of whatever is read."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    def read(self, path: Path, offset: int = 0, bytes_max: int | None = None) -> bytes:
        """See `Files.read`."""
        data = super().read(path, offset, bytes_max)
        self._advance(len(data))
        return data


@contextmanager
def counted_files(output: Output, what: str, data_dir: Path, *, reads: int) -> Iterator[OsFiles]:
    """Give a disk that shows how much of the store in `data_dir` was read: about so many times all of it."""
    folders = (data_dir / JOURNAL, data_dir / SNAPSHOTS)
    size_bytes = sum(
        path.stat().st_size for folder in folders if folder.is_dir() for path in folder.iterdir()
    )
    with output.reading(what, reads * size_bytes) as advance:
        yield CountedFiles(advance)


def counted_lines(lines: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the lines; now and then `advance` gets the size of those since the last time."""
    size_bytes = 0
    for number, line in enumerate(lines, 1):
        size_bytes += len(line)
        if number % LINES_STEP == 0:
            advance(size_bytes)
            size_bytes = 0
        yield line
    advance(size_bytes)
