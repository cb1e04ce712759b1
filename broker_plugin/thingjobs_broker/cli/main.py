"""The entry point of `thingjobs`: the tree of commands. Each group of commands lives in its own module."""

from importlib.metadata import version
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
from thingjobs_broker.cli.command import paragraph
from thingjobs_broker.cli.exit_codes import MEANINGS

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
        typer.echo(f"thingjobs {version('thingjobs')}")
        raise typer.Exit


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
    app()


if __name__ == "__main__":
    run()
