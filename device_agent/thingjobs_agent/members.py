"""Reads single members of a job document: each function takes the object, the key and how messages call the
member, and returns the value or refuses the document. Knows nothing of steps.
"""

from __future__ import annotations

import re
from typing import Any, Final

NAME_CHARACTERS_MAX: Final = 128
TEXT_CHARACTERS_MAX: Final = 4096
ARGS_MAX: Final = 100
STEP_TIMEOUT_SECONDS_MAX: Final = 604_800
"""Seven days, the longest timer of the service (spec: data plane 6.1)."""

_unescaped_comma: Final = re.compile(r"(?<!\\),").split


class DocumentError(ValueError):
    """The document cannot be run; the message is one line that names the member and the rule."""


def handler(owner: dict[str, Any], key: str, where: str) -> str:
    """Return a bare file name."""
    name = text(owner, key, where, characters_max=NAME_CHARACTERS_MAX)
    if "/" in name or name in (".", ".."):
        raise DocumentError(f"{where} must be a bare file name in the handler directory, not {shown(name)}")
    return name


def arguments(owner: dict[str, Any], where: str) -> tuple[str, ...]:
    """Return `args`: texts in which lines and tabs are ordinary."""
    args = items(owner, "args", where, count_max=ARGS_MAX)
    for index, arg in enumerate(args):
        if not isinstance(arg, str):
            raise DocumentError(f"{where}[{index}] must be a text, not {kind(arg)}")
        check_text(arg, f"{where}[{index}]", allowed="\t\n")
    return tuple(args)


def command(owner: dict[str, Any], where: str) -> tuple[str, ...]:
    r"""Return the words of `command`: separated by commas, trimmed; `\,` is a comma (control plane 8.1)."""
    words = [word.replace("\\,", ",").strip() for word in _unescaped_comma(text(owner, "command", where))]
    if len(words) > ARGS_MAX:
        raise DocumentError(f"{where} may hold {ARGS_MAX} words, not {len(words)}")
    if not words[0] or any(character.isspace() for character in words[0]):
        raise DocumentError(
            f"{where} must begin with a program without white space, not {shown(words[0])}; "
            "words are separated by commas"
        )
    return tuple(words)


def items(owner: dict[str, Any], key: str, where: str, *, count_max: int) -> list[Any]:
    """Return a list; one that is missing is empty."""
    value = owner.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise DocumentError(f"{where} must be a list, not {kind(value)}")
    if len(value) > count_max:
        raise DocumentError(f"{where} may hold {count_max} entries, not {len(value)}")
    return value


def text(
    owner: dict[str, Any],
    key: str,
    where: str,
    *,
    default: str | None = None,
    characters_max: int = TEXT_CHARACTERS_MAX,
) -> str:
    """Return a text without control characters; without a default it must be there and not be empty."""
    value = owner.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise DocumentError(f"{where} must be a text, not {kind(value)}")
    if not value and default is None:
        raise DocumentError(f"{where} must not be empty")
    check_text(value, where, characters_max=characters_max)
    return value


def check_text(
    value: str, where: str, *, allowed: str = "", characters_max: int = TEXT_CHARACTERS_MAX
) -> None:
    """Refuse a text that is too long, or that no program can be given."""
    if len(value) > characters_max:
        raise DocumentError(f"{where} may have {characters_max} characters, not {len(value)}")
    for character in value:
        if (character < " " and character not in allowed) or "\x7f" <= character < "\xa0":
            raise DocumentError(f"{where} must not hold the control character U+{ord(character):04X}")
        if "\ud800" <= character <= "\udfff":
            raise DocumentError(f"{where} must not hold the surrogate U+{ord(character):04X}")


def flag(owner: dict[str, Any], key: str, where: str) -> bool:
    """Return a boolean; existing documents write it as text (8.1, A36)."""
    value = owner.get(key)
    if value is None or value is False or value == "false":
        return False
    if value is True or value == "true":
        return True
    raise DocumentError(f'{where} must be true, false, "true" or "false", not {shown(value)}')


def count(owner: dict[str, Any], key: str, where: str) -> int | None:
    """Return a whole number of at least 0, or None."""
    value = owner.get(key)
    if value is not None and (type(value) is not int or value < 0):
        raise DocumentError(f"{where} must be a whole number of at least 0, not {shown(value)}")
    return value


def timeout(owner: dict[str, Any], where: str) -> int | None:
    """Return `timeoutSeconds`, or None."""
    value = owner.get("timeoutSeconds")
    if value is not None and (type(value) is not int or not 1 <= value <= STEP_TIMEOUT_SECONDS_MAX):
        raise DocumentError(
            f"{where} must be a whole number from 1 to {STEP_TIMEOUT_SECONDS_MAX}, not {shown(value)}"
        )
    return value


_KINDS: Final = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def kind(value: object) -> str:
    """Return what a value is, for a message."""
    return "missing" if value is None else _KINDS[type(value)]


def shown(value: object) -> str:
    """Return the value for a message: short, and printable because the message goes into status details."""
    if value is None or isinstance(value, dict | list):
        return kind(value)
    described = ascii(value)
    return described if len(described) <= 60 else described[:57] + "..."
