"""What `thingjobs` exits with: one table for the code, the help and the manual. Scripts rely on it."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """The exit status of every command."""

    OK = 0
    NOT_SUCCEEDED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    LOCAL_FILE = 5
    NOT_STARTED = 6
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "done; for job watch: every thing succeeded",
    ExitCode.NOT_SUCCEEDED: "job watch: not successful on every thing; doctor, store: something is wrong",
    ExitCode.USAGE: "wrong arguments, options or settings; nothing was done",
    ExitCode.REFUSED: "the service refused the request; its code and message are shown",
    ExitCode.UNREACHABLE: "no broker, no login, or no jobs service that answers",
    ExitCode.LOCAL_FILE: "a file is missing, unreadable or wrong, or there is no room for the output",
    ExitCode.NOT_STARTED: "up, serve: the service could not start, or had to stop",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
    ExitCode.BROKEN_PIPE: "whoever read the output went away",
}
