"""The command line: finds the command, and picks the exit code."""

from __future__ import annotations

from thingjobs_agent.lazily import forget, lazily, plain_host_names, without_signatures, without_types

# Imported by libraries for what we never do: 2 MiB. Before anybody imports them.
for _name in (
    "bz2",
    "hashlib",
    "inspect",
    "ipaddress",
    "locale",
    "lzma",
    "tokenize",
    "urllib.request",
    "uuid",
):
    lazily(_name)
plain_host_names()

# ruff: noqa: E402
import importlib
import os
import sys
from typing import Final, NoReturn

with without_types():
    lazily("msgspec.inspect")
with without_signatures():
    import thingjobs_agent.config  # noqa: F401 - a dataclass
from thingjobs_agent.errors import EXIT_OK, AgentError, StateDirectoryError

READ_ONCE: Final = ("thingjobs_agent.arguments", "argparse", "gettext", "locale", "shutil")


def run() -> NoReturn:
    """Console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    from thingjobs_agent.arguments import parsed  # noqa: PLC0415 - to be forgotten

    options = parsed(arguments)
    if options.command == "run":
        del parsed
        forget(*READ_ONCE)
        lazily("locale")
    # A command imports what it needs, so that the others start quickly and the agent stays small.
    module = importlib.import_module(f"thingjobs_agent.commands.{options.module}")
    try:
        return int(getattr(module, options.function)(options))
    except AgentError as error:
        print(f"thingjobs-agent: {error}", file=sys.stderr)  # noqa: T201 - the command line
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except PermissionError as error:
        what = f"{error.filename} cannot be used: {error.strerror}; run this as the agent's user"
        print(f"thingjobs-agent: {what}", file=sys.stderr)  # noqa: T201 - the command line
        return StateDirectoryError.exit_code
