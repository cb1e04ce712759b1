"""What ends the agent or a command of it: one class for each exit code, each with a message of one line."""

from __future__ import annotations

from typing import ClassVar, Final

EXIT_OK: Final = 0
EXIT_NO: Final = 1
"""A question was answered with no: an invalid document, a failed check, a job that failed."""
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
    """Another agent uses the state directory, or a job is in the way."""

    exit_code = 4


class UnreachableError(AgentError):
    """The broker or the service behind it gives no answer."""

    exit_code = 5


class OutputError(AgentError):
    """What was asked for cannot be written to standard output."""

    exit_code = 74


class NotFoundError(AgentError):
    """There is no such job or log on this device."""

    exit_code = 6
