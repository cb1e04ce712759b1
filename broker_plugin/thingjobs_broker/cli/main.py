"""The entry point of `thingjobs`: the tree of commands. Each group of commands lives in its own module."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from thingjobs_broker.cli import (
    call,
    doctor,
    event_stream,
    executions,
    groups,
    init,
    job_changes,
    jobs,
    serve,
    store,
    tagging,
    templates,
    thing_types,
    things,
    up,
    why,
)
from thingjobs_broker.cli.command import end, exit_code_of, paragraph
from thingjobs_broker.cli.exit_codes import MEANINGS, ExitCode
from thingjobs_broker.cli.output import write

_HELP = (
    "Jobs for MQTT devices, in your own broker: run the service, register things, create jobs and watch them."
)
_EXIT_CODES = paragraph("Exit codes:", *(f"{int(code):3}  {meaning}" for code, meaning in MEANINGS.items()))

app = typer.Typer(
    name="thingjobs",
    help=_HELP,
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # Its tracebacks show the values of variables, and one of them may be a password.
    pretty_exceptions_enable=False,
)
up.add_to(app)
serve.add_to(app)
app.add_typer(init.app, name="init")
app.add_typer(things.app, name="thing")
jobs.app.add_typer(job_changes.app)
app.add_typer(jobs.app, name="job")
app.add_typer(executions.app, name="execution")
app.add_typer(groups.app, name="group")
app.add_typer(thing_types.app, name="type")
app.add_typer(templates.app, name="template")
app.add_typer(tagging.app, name="tag")
event_stream.add_to(app)
why.add_to(app)
call.add_to(app)
doctor.add_to(app)
app.add_typer(store.app, name="store")


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        end(lambda: write(f"thingjobs {version('thingjobs')}\n"))


@app.callback()
def main(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of thingjobs itself."""


def run() -> None:
    """Run the command line; does not return."""
    if sys.stdout is None:
        # Whoever started us has closed it: what is printed is lost, and nothing else.
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
    try:
        sys.exit(exit_code_of(app))  # it returns where help cannot be written
    except SystemExit as ending:
        # The libraries that write help end with 1 when nobody reads it any more.
        if isinstance(ending.__context__, BrokenPipeError):
            ending.code = ExitCode.BROKEN_PIPE
        raise


if __name__ == "__main__":
    run()
