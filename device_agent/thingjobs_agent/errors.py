"""What ends the agent or a command of it: one class for each exit code, each with a message of one line."""

from __future__ import annotations

from typing import ClassVar, Final

EXIT_OK: Final = 0
EXIT_INVALID_DOCUMENT: Final = 1
EXIT_FAULT: Final = 70


class AgentError(Exception):
    """Base of all; never raised itself. The message says what is wrong and what to do about it."""

    exit_code: ClassVar[int]


class UsageError(AgentError):
    """An option, a setting or a file named by one is wrong."""

    exit_code = 2


class StateDirectoryError(AgentError):
    """The state directory cannot be used."""

    exit_code = 3


class AlreadyRunningError(AgentError):
    """Another agent uses the state directory."""

    exit_code = 4
