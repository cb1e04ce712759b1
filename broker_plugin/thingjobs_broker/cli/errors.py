"""What a command ends with when it cannot do its work: one line that says what was wrong and what helps.

CliError
  UsageError  RefusedError  UnreachableError  LocalFileError
"""

from __future__ import annotations

from typing import ClassVar

from thingjobs_broker.cli.exit_codes import ExitCode


class CliError(Exception):
    """The message goes to standard error, the exit code to the shell. Never raised itself."""

    exit_code: ClassVar[ExitCode]


class UsageError(CliError):
    """An argument, option or setting is wrong."""

    exit_code = ExitCode.USAGE


class RefusedError(CliError):
    """The service answered with an error; `code` is AWS's name of it."""

    exit_code = ExitCode.REFUSED

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class UnreachableError(CliError):
    """There is no broker, no login, or no service behind the broker; `fix` is what helps, if known."""

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem}; {fix}" if fix else problem)
        self.problem = problem
        self.fix = fix


class LocalFileError(CliError):
    """A file of this machine cannot be used."""

    exit_code = ExitCode.LOCAL_FILE
