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
import errno
import importlib
import os
import sys
from typing import Final, NoReturn

with without_types():
    lazily("msgspec.inspect")
with without_signatures():
    import thingjobs_agent.config  # noqa: F401 - a dataclass
from thingjobs_agent.errors import EXIT_OK, AgentError, OutputError, StateDirectoryError

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
READ_ONCE: Final = ("thingjobs_agent.arguments", "argparse", "gettext", "locale", "shutil")


def run() -> NoReturn:
    """Console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        code = _command(arguments)
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
    except AgentError as error:
        return _told(error)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said.
        _drop_output()
        return EXIT_OK
    except PermissionError as error:
        what = f"{error.filename} cannot be used: {error.strerror}; run this as the agent's user"
        return _told(StateDirectoryError(what))
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _drop_output()
        return _told(OutputError(f"cannot write to {error.filename or 'standard output'}: {error.strerror}"))
    return code


def _command(arguments: list[str]) -> int:
    from thingjobs_agent.arguments import parsed  # noqa: PLC0415 - to be forgotten

    options = parsed(arguments)
    if options.command == "run":
        del parsed
        forget(*READ_ONCE)
        lazily("locale")
    # A command imports what it needs, so that the others start quickly and the agent stays small.
    module = importlib.import_module(f"thingjobs_agent.commands.{options.module}")
    return int(getattr(module, options.function)(options))


def _told(error: AgentError) -> int:
    print(f"thingjobs-agent: {error}", file=sys.stderr)  # noqa: T201 - the command line
    return error.exit_code


def _drop_output() -> None:
    """What is still buffered must not fail again when the interpreter flushes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
