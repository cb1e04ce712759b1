"""What a check comes to: a finding, or one of two exceptions that become one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis; a failed one says in `fix` what helps."""

    check: str
    outcome: Outcome
    message: str
    fix: str = ""


class Problem(Exception):
    """The check failed."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class NotChecked(Exception):
    """The check cannot be made; the message says why, and what would make it possible."""
