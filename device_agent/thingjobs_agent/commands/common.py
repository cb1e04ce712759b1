"""What commands share: the settings behind their options, and printing."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from thingjobs_agent.config import Config, Settings, absolute, load_config
from thingjobs_agent.errors import StateDirectoryError


def config_of(options: SimpleNamespace) -> Config:
    """Return the settings, with the options given.

    Raises:
        UsageError: as `load_config`.

    """
    flags = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(Settings)}
    if options.command == "run" and options.json:
        flags["log_format"] = "json"
    return load_config(options.config, flags, os.environ)


def state_directory(options: SimpleNamespace) -> Path:
    """Return the state directory of an agent that has run here.

    Raises:
        StateDirectoryError: none has.

    """
    directory = absolute(config_of(options).settings.state_dir)
    if not directory.is_dir():
        raise StateDirectoryError(f"no agent has run with the state directory {directory}; check --state-dir")
    return directory


def print_json(value: object) -> None:
    """Print a value for machines."""
    print(msgspec.json.format(msgspec.json.encode(value)).decode())  # noqa: T201 - the command line


def print_lines(lines: list[str]) -> None:
    """Print for people."""
    if lines:
        print("\n".join(lines))  # noqa: T201 - the command line


def show(options: SimpleNamespace, value: object, lines: list[str]) -> None:
    """Print one or the other, as --json says."""
    print_json(value) if options.json else print_lines(lines)


def when(seconds: float) -> str:
    """Return a time for people, in UTC: whoever reads it may sit elsewhere."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds)) if seconds else "unknown"


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows in columns; the last column is as long as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] if rows else []
    return [
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]


def plain(value: Any) -> Any:
    """Return a Struct as JSON would show it."""
    return msgspec.to_builtins(value)
