"""Finds the settings of a program that serves: option over environment over TOML file over default."""

import os
import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar

from thingjobs_broker.cli.errors import LocalFileError, UsageError
from thingjobs_broker.cli.output import complain
from thingjobs_broker.config import Settings, SidecarSettings
from thingjobs_protocol.settings import SettingsError, resolve, settings_table

ENVIRONMENT_PREFIX: Final = "THINGJOBS"
OF_OTHERS: Final = (
    *("THINGJOBS_BROKER", "THINGJOBS_CA_FILE", "THINGJOBS_CONFIG", "THINGJOBS_PASSWORD"),
    *("THINGJOBS_TIMEOUT_SECONDS", "THINGJOBS_AGENT_"),
)
"""Variables with our prefix that belong to the client commands and to the agent."""

_FROM_ENVIRONMENT: Final = "environment variable "
_PROGRAMS: Final = (Settings, SidecarSettings)

SettingsT = TypeVar("SettingsT")


def find_settings(settings_type: type[SettingsT], flags: dict[str, Any], config: str | None) -> SettingsT:
    """Return the settings; `flags` are the options by dotted key, None where not given.

    Raises:
        UsageError: a setting is unknown or wrong.
        LocalFileError: the file cannot be read or is not TOML.

    """
    file = _read(config) if config else {}
    try:
        found, origins = resolve(
            settings_type,
            file=file,
            file_name=config or "the settings file",
            environ=os.environ,
            env_prefix=ENVIRONMENT_PREFIX,
            env_ignored=[*OF_OTHERS, *_variables_of_programs()],
            flags=flags,
        )
    except SettingsError as error:
        raise UsageError(str(error)) from None
    if beaten := [
        origin for key, origin in origins.items() if _FROM_ENVIRONMENT in origin and _has(file, key)
    ]:
        names = ", ".join(origin.removeprefix(_FROM_ENVIRONMENT) for origin in beaten)
        # An operator's shell names the broker and the password of the operator.
        complain(f"note: {names} in the environment, not what {config} says")
    return found


def _has(file: dict[str, Any], key: str) -> bool:
    """Tell whether a dotted key stands in the file."""
    *tables, last = key.split(".")
    for name in tables:
        file = file.get(name, {})
    return last in file


def _variables_of_programs() -> set[str]:
    """Return what any of our programs may find in an environment that they share."""
    tables = (settings_table(program, env_prefix=ENVIRONMENT_PREFIX) for program in _PROGRAMS)
    return {row.environment for table in tables for row in table}


def _read(name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise LocalFileError(f"cannot read the settings file {name!r}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, or not TOML
        raise LocalFileError(f"the settings file {name!r} is not TOML: {error}") from None
