"""The last jobs of this device, one JSON line each: what they were, how they ended, what the service made of
it.

For people at the device; nothing is decided by it. Bounded, and a torn or broken line is passed over.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from thingjobs_protocol.status import JobExecutionStatus

HISTORY_NAME: Final = "history.jsonl"
FILE_BYTES_MAX: Final = 64 * 1024
ENTRIES_KEPT: Final = 50
"""How many remain when the file is full; an entry has at most 11 KiB, mostly 200 bytes."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One job that is over. Times are seconds since the epoch by the device's clock, which may have been
    wrong; `began_at` 0: before this life of the agent.
    """

    job_id: str
    execution_number: int
    queued_at: int
    status: JobExecutionStatus
    status_details: dict[str, str]
    ending: str
    ended_at: int
    began_at: int = 0


class History:
    """The file."""

    def __init__(self, state_dir: Path) -> None:
        """Take the directory of the agent's state."""
        self.path = state_dir / HISTORY_NAME

    def add(self, entry: Entry) -> None:
        """Append an entry; a full disk loses it, and nothing else.

        The line is not synced: a history that ends a job too early is no harm, and an SD card lives longer.
        """
        with contextlib.suppress(OSError):
            self._shorten()
            line = msgspec.json.encode(entry) + b"\n"
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                # A power cut may have torn the last line.
                is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                os.write(descriptor, b"\n" + line if is_torn else line)
            finally:
                os.close(descriptor)

    def entries(self) -> list[Entry]:
        """Return all entries, the oldest first.

        Raises:
            OSError: the file is there and cannot be read.

        """
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        entries = []
        for line in lines:
            with contextlib.suppress(ValueError):
                entries.append(msgspec.json.decode(line, type=Entry))
        return entries

    def _shorten(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size < FILE_BYTES_MAX:
                return
            kept = self.entries()[-ENTRIES_KEPT:]
            aside = self.path.with_suffix(".tmp")
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor with its mode
                file.write(b"".join(msgspec.json.encode(entry) + b"\n" for entry in kept))
            aside.rename(self.path)
