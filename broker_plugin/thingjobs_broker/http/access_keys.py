"""The access keys of operators: a file with one line for each, `ACCESS_KEY_ID SECRET ROLE NAME`.

The secrets stand there as they are, because a signature can only be checked with the secret itself: the file
must be nobody else's to read. It is read again when it changes.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
"""How soon a change of the file is noticed."""


class Role(StrEnum):
    """What a key is good for."""

    OPERATOR = "operator"
    READ_ONLY = "read-only"


class AccessKey(NamedTuple):
    """A key, whose it is, and what for."""

    secret: str
    role: Role
    name: str


class AccessKeysError(Exception):
    """The file cannot be used; the message says why and what to do."""


def parse(text: str, file: Path) -> dict[str, AccessKey]:
    """Return the keys by their ids.

    Raises:
        AccessKeysError: a line is not as it should be; no secret is in the message.

    """
    keys = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split()
        if len(parts) != 4 or parts[2] not in set(Role):
            roles = " or ".join(Role)
            raise AccessKeysError(
                f"{file}:{number}: expected ACCESS_KEY_ID SECRET ROLE NAME, the role {roles}"
            )
        keys[parts[0]] = AccessKey(parts[1], Role(parts[2]), parts[3])
    return keys


def read(file: Path) -> dict[str, AccessKey]:
    """Return the keys in a file.

    Raises:
        AccessKeysError: it is missing, unreadable, open to others, or wrong.

    """
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AccessKeysError(f"cannot read the access keys in {file}: {error}") from None
    if mode & 0o077:
        raise AccessKeysError(f"others may read the secrets in {file}; chmod 600 it")
    return parse(text, file)


class AccessKeys:
    """The keys of a file, as it is now.

    Raises:
        AccessKeysError: the file cannot be used at the start; later the keys are kept as last read.

    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._keys: Mapping[str, AccessKey] = read(file)
        self._read_of = self._mark()
        self._look_again_at = time.monotonic() + LOOK_SECONDS

    def find(self, access_key_id: str) -> AccessKey | None:
        """Return a key, None where there is none of that id."""
        now = time.monotonic()
        if now >= self._look_again_at:
            self._look_again_at = now + LOOK_SECONDS
            self._read_again_if_changed()
        return self._keys.get(access_key_id)

    def _read_again_if_changed(self) -> None:
        try:
            mark = self._mark()
            if mark != self._read_of:
                self._keys = read(self._file)
                self._read_of = mark
        except (OSError, AccessKeysError) as error:
            log.warning("The access keys are kept as last read", action="access_keys", error=str(error))

    def _mark(self) -> tuple[int, int]:
        status = self._file.stat()
        return status.st_mtime_ns, status.st_ino
