"""Reads what operators hand in: JSON objects and passwords, from files, standard input or text, bounded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

from thingjobs_broker.cli.errors import CliError, LocalFileError, UsageError
from thingjobs_protocol.limits import PAYLOAD_BYTES_MAX

STANDARD_INPUT: Final = "-"


def read_text(name: str, what: str) -> str:
    """Return the text of a file, or of standard input for `-`.

    Raises:
        LocalFileError: it cannot be read, is not UTF-8 or is larger than any request may be.

    """
    shown = _shown(name)
    try:
        if name == STANDARD_INPUT:
            content = sys.stdin.buffer.read(PAYLOAD_BYTES_MAX + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(PAYLOAD_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LocalFileError(f"cannot read the {what} {shown}: {reason}") from None
    if len(content) > PAYLOAD_BYTES_MAX:
        raise LocalFileError(
            f"the {what} {shown} is larger than the {PAYLOAD_BYTES_MAX} bytes a request may have"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LocalFileError(
            f"the {what} {shown} is not UTF-8: byte {error.start} cannot be decoded"
        ) from None


def read_document(name: str) -> str:
    """Return the text of a job document as it stands, after making sure that it is a JSON object.

    Raises:
        LocalFileError: it cannot be read or is no JSON object; the message has line and column.

    """
    text = read_text(name, "job document")
    parse_object(text, f"the job document {_shown(name)}", LocalFileError)
    return text


def read_request(given: str) -> dict[str, Any]:
    """Return the members of a request given as text, or on standard input for `-`.

    Raises:
        UsageError, LocalFileError: it is no JSON object; the message has line and column.

    """
    if given == STANDARD_INPUT:
        return parse_object(read_text(given, "request"), "the request on standard input", LocalFileError)
    return parse_object(given, "the request in --json", UsageError)


def read_password(name: str) -> str:
    """Return the first line of a password file.

    Raises:
        LocalFileError: it cannot be read or is empty.

    """
    lines = read_text(name, "password file").splitlines()
    if not lines or not lines[0]:
        raise LocalFileError(
            f"the password file {_shown(name)} is empty; its first line must be the password"
        )
    return lines[0]


def parse_object(text: str, what: str, problem: type[CliError]) -> dict[str, Any]:
    """Return the JSON object in `text`; otherwise raise a `problem` whose message begins with `what`."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise problem(f"{what} is not JSON: line {error.lineno} column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise problem(f"{what} is not JSON: {reason}") from None
    if not isinstance(value, dict):
        raise problem(f"{what} must be a JSON object, {{...}}, not {_KINDS[type(value)]}")
    return value


_KINDS: Final = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _shown(name: str) -> str:
    return "on standard input" if name == STANDARD_INPUT else repr(name)[:200]
