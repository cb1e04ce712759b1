"""The rules of this device, from its own settings file: who runs what, within which limits. Plain data and
its checks; `handlers` applies them. No job document can widen them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from thingjobs_agent.errors import UsageError

HANDLERS_TABLE: Final = "handlers"
"""The table of the settings file whose tables are rules: `[handlers."install-packages.sh"]`."""

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds for a handler; None: not limited. `environment` names variables it may see besides."""

    user: str | None = None
    cpu_seconds: Count | None = None
    memory_mib: Count | None = None
    processes: Count | None = None
    file_mib: Count | None = None
    environment: tuple[str, ...] = ()

    def over(self, default: Rule) -> Rule:
        """Return this rule, with the default where it says nothing."""
        mine = {
            name: value for name, value in msgspec.structs.asdict(self).items() if value not in (None, ())
        }
        return msgspec.structs.replace(default, **mine)


class Local(msgspec.Struct, frozen=True):
    """All local rules. An entry of `commands` is the words a command must have; a last word `*` stands for
    any further ones.
    """

    handler_dir: Path
    commands: tuple[tuple[str, ...], ...] = ()
    reboot_command: tuple[str, ...] = ()
    default: Rule = Rule()
    rules: Mapping[str, Rule] = {}

    def rule(self, name: str) -> Rule:
        """Return what holds for a handler, or for a command by the path of its program."""
        return self.rules.get(name, Rule()).over(self.default)


def read_rules(table: object, file_name: str) -> dict[str, Rule]:
    """Return the rules in the `handlers` table of the settings file.

    Raises:
        UsageError: a key that is not known, or a wrong value; the message names it.

    """
    if not isinstance(table, Mapping):
        raise UsageError(f"{HANDLERS_TABLE} must be a table of tables, not a single value (in {file_name})")
    return {name: _rule(f'[{HANDLERS_TABLE}."{name}"]', given, file_name) for name, given in table.items()}


def _rule(where: str, given: object, file_name: str) -> Rule:
    if not isinstance(given, Mapping):
        raise UsageError(f"{where} must be a table (in {file_name})")
    for key in given:
        if key not in Rule.__struct_fields__:
            import difflib  # noqa: PLC0415 - only for slips

            close = difflib.get_close_matches(key, Rule.__struct_fields__, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"unknown key {key!r} in {where} of {file_name}{hint}")
        try:
            msgspec.convert({key: given[key]}, Rule)
        except msgspec.ValidationError as error:
            what = str(error).partition(" - at ")[0].replace("`", "")
            raise UsageError(f"{key} in {where} of {file_name}: {what}") from None
    return msgspec.convert(given, Rule)


def read_commands(entries: list[str]) -> tuple[tuple[str, ...], ...]:
    """Return the words of each allowed command.

    Raises:
        UsageError: one does not begin with the path of a program.

    """
    return tuple(_words(entry) for entry in entries)


def _words(entry: str) -> tuple[str, ...]:
    try:
        words = shlex.split(entry)
    except ValueError as error:
        raise UsageError(f"allowed_commands: {entry!a} cannot be read: {error}") from None
    if not words or not words[0].startswith("/"):
        raise UsageError(f"allowed_commands: {entry!a} must begin with the full path of a program")
    return tuple(words)


def matches(words: tuple[str, ...], entry: tuple[str, ...]) -> bool:
    """Tell whether a command, its program given by path, is what an entry allows."""
    if entry[-1] == "*":
        return words[: len(entry) - 1] == entry[:-1]
    return words == entry


def shown_rule(rule: Rule) -> dict[str, Any]:
    """Return what a rule says, for `plan` and `config show`."""
    return {name: value for name, value in msgspec.structs.asdict(rule).items() if value not in (None, ())}
