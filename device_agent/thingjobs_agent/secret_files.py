"""Files that settings name: read whole, and refused when others can see a secret in them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from thingjobs_agent.errors import UsageError

FILE_BYTES_MAX: Final = 64 * 1024


def read_text(name: str, key: str) -> str:
    """Return a file's text, of a large one the beginning; `key` is the setting that names it.

    Raises:
        UsageError: it cannot be read.

    """
    try:
        with Path(name).open(encoding="utf-8") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{key} {name} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def read_private(name: str, key: str) -> str:
    """Return the text of a file that holds a secret.

    Raises:
        UsageError: it cannot be read, is too large, or others can read or replace it.

    """
    text = read_text(name, key)
    check_private(name, key)
    if len(text) > FILE_BYTES_MAX:
        # In part, a list of what must not be shown would be none.
        raise UsageError(f"{key} {name} is larger than {FILE_BYTES_MAX // 1024} KiB")
    return text


def check_private(name: str, what: str) -> None:
    """Refuse a file that somebody else can read or write; a group that may read it is the owner's choice.

    Raises:
        UsageError: with the command that repairs it.

    """
    status = Path(name).stat()
    if status.st_uid not in (0, os.geteuid()):
        raise UsageError(f"{what} {name} must belong to root or to the agent's user")
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise UsageError(f"{what} {name} can be read or written by others; chmod 600 {name}")
