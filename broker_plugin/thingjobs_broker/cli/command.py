"""How a command is made of a function: its connection options, its help with examples, and its ways to end.

Every client command takes the same options after its own; every error becomes one line and an exit code.
"""

import errno
import inspect
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from thingjobs_broker.cli.broker_address import (
    DEFAULT_BROKER,
    DEFAULT_TIMEOUT_SECONDS,
    BrokerAddress,
    broker_address,
)
from thingjobs_broker.cli.errors import CliError
from thingjobs_broker.cli.exit_codes import ExitCode
from thingjobs_broker.cli.output import Output, complain
from thingjobs_protocol.topics import DEFAULT_ROOT

if TYPE_CHECKING:
    from thingjobs_broker.cli.connection import Connection

TIMEOUT_SECONDS_MAX: Final = 3600.0
_PANEL: Final = "Connection"
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

ClientCommand = Callable[..., Coroutine[Any, Any, ExitCode | None]]
"""Takes a `Session` and its own parameters; None means that all went well."""


@dataclass(frozen=True)
class Session:
    """What a client command works with."""

    address: BrokerAddress
    output: Output

    def connect(self) -> "AbstractAsyncContextManager[Connection]":
        """Open the connection; local checks come before this."""
        from thingjobs_broker.cli.connection import connect

        return connect(self.address)


def client_command(
    app: typer.Typer,
    name: str,
    *examples: str,
    json_option: bool = True,
    options: Sequence[inspect.Parameter] = (),
) -> Callable[[ClientCommand], ClientCommand]:
    """Add a command that talks to the service: its own options, then the common ones.

    What is declared in `options` it gets as one dictionary, its parameter `given`.
    """

    def decorate(command: ClientCommand) -> ClientCommand:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        own = [parameter for parameter in own if not (options and parameter.name == "given")]
        common = [parameter for parameter in _COMMON if json_option or parameter.name != "as_json"]

        def run(**found: Any) -> None:
            with_defaults = {parameter.name: found.pop(parameter.name) for parameter in common}
            if options:
                found["given"] = {parameter.name: found.pop(parameter.name) for parameter in options}
            end(lambda: _run(command, found, with_defaults))

        _pose_as(run, command, [*own, *options, *common])
        app.command(name, epilog=examples_epilog(*examples))(run)
        return command

    return decorate


def examples_epilog(*examples: str) -> str:
    """Return the end of a command's help."""
    return paragraph("Examples:", *examples)


def paragraph(*lines: str) -> str:
    """Return help text whose lines stay as they are."""
    return "\b\n" + "\n".join(lines)


def end(work: Callable[[], ExitCode | None]) -> None:
    """Do the work and leave with its exit code."""
    raise typer.Exit(int(exit_code_of(work)))


def exit_code_of(work: Callable[[], ExitCode | None]) -> ExitCode:
    """Do the work and return its exit code; an error is one line on standard error, Ctrl-C is none."""
    try:
        code = work() or ExitCode.OK
        sys.stdout.flush()
    except CliError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return ExitCode.BROKEN_PIPE
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _drop_output()
        complain(f"cannot write to {error.filename or 'standard output'}: {error.strerror}")
        return ExitCode.LOCAL_FILE
    return code


def _drop_output() -> None:
    """What is still buffered must not fail again when the interpreter flushes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(command: ClientCommand, own: dict[str, Any], common: dict[str, Any]) -> ExitCode | None:
    import asyncio

    output = Output(as_json=common.pop("as_json", True))
    address = broker_address(
        common["broker"],
        password_file=common["password_file"],
        ca_file=common["ca_file"],
        topic_root=common["topic_root"],
        timeout_seconds=common["timeout_seconds"],
    )
    return asyncio.run(command(Session(address, output), **own))


def _pose_as(run: Callable[..., None], command: ClientCommand, parameters: list[inspect.Parameter]) -> None:
    """Let typer see the parameters and the help of the command."""
    run.__doc__ = command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )


def _common(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON document.")] = False,
    broker: Annotated[
        str,
        typer.Option(
            envvar="THINGJOBS_BROKER",
            metavar="URL",
            help="mqtt:// or mqtts://USER@HOST:PORT",
            rich_help_panel=_PANEL,
        ),
    ] = DEFAULT_BROKER,
    password_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File with the password in its first line; or set THINGJOBS_PASSWORD.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    ca_file: Annotated[
        str | None,
        typer.Option(
            envvar="THINGJOBS_CA_FILE",
            metavar="FILE",
            help="Certificates to trust instead of the system's.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    topic_root: Annotated[
        str,
        typer.Option(
            envvar="THINGJOBS_TOPIC_ROOT",
            metavar="NAME",
            help="First level of the service's topics.",
            rich_help_panel=_PANEL,
        ),
    ] = DEFAULT_ROOT,
    timeout_seconds: Annotated[
        float,
        typer.Option(
            envvar="THINGJOBS_TIMEOUT_SECONDS",
            min=0.1,
            max=TIMEOUT_SECONDS_MAX,
            help="How long to wait for the broker and for each answer.",
            rich_help_panel=_PANEL,
        ),
    ] = DEFAULT_TIMEOUT_SECONDS,
) -> None:
    """The options that every client command takes."""


_COMMON: Final = list(inspect.signature(_common).parameters.values())
