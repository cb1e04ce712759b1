"""`thingjobs init`: makes keys, certificates, passwords and configurations. Shows paths, never a secret.

`thingjobs init [DIR]` is a command and the group of `init device`, `init operator` and `init revoke` at once.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from typer.core import TyperGroup

from thingjobs_broker.cli.command import end, examples_epilog
from thingjobs_broker.cli.errors import LocalFileError, UsageError
from thingjobs_broker.cli.options import ThingName
from thingjobs_broker.cli.output import Output

if TYPE_CHECKING:
    from thingjobs_broker.provision.setup import Setup

DEFAULT_DIRECTORY: Final = "thingjobs-setup"
DEVICE_DIRECTORY: Final = "/etc/thingjobs-agent"


class _InitGroup(TyperGroup):
    """What follows `init` is a directory, unless it is a command; a directory of that name is ./device."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in self.commands:
            # The argument in front of the command, which click wants to see.
            args = [DEFAULT_DIRECTORY, *args]
        else:
            ctx.allow_interspersed_args = True
        return super().parse_args(ctx, args)


Directory = Annotated[
    str, typer.Option("--dir", metavar="DIR", help="The directory that thingjobs init has made.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON document.")]
Renew = Annotated[bool, typer.Option("--renew", help="Make a new one; the old one is refused from then on.")]

app = typer.Typer(
    cls=_InitGroup,
    invoke_without_command=True,
    subcommand_metavar="| COMMAND ...",
    epilog=examples_epilog(
        "thingjobs init --host broker.example",
        "thingjobs init /etc/thingjobs --host broker.example --host 192.0.2.7 --broker mosquitto",
        "thingjobs init device press-7 --dir /etc/thingjobs",
        "thingjobs init operator ada --dir /etc/thingjobs",
    ),
)


@app.callback()
def init(  # noqa: PLR0917 - typer makes options of them
    ctx: typer.Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Made with mode 0700.")] = DEFAULT_DIRECTORY,
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What devices call the broker: a DNS name or an IP address; may be repeated."
            " \\[default: this machine's name]",
        ),
    ] = None,
    broker: Annotated[
        Literal["amqtt", "mosquitto"], typer.Option(help="For thingjobs up, or for Mosquitto.")
    ] = "amqtt",
    renew: Annotated[
        bool, typer.Option("--renew", help="Give the broker a new key and certificate.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make what a broker needs: a private CA, its certificate, its files, an operator and the service.

    What is there already is kept, so that the same command again does no harm.
    """
    if ctx.invoked_subcommand is not None:
        return

    def work(setup: "Setup") -> list[str]:
        setup.create(host or [], broker, renew=renew)
        layout = setup.layout
        if broker == "amqtt":
            return [f"thingjobs up --config {layout.up_settings}"]
        return [
            f"mosquitto -c {layout.mosquitto_conf}",
            f"thingjobs serve --config {layout.service.service_settings}",
        ]

    end(lambda: _run(directory, work, Output(as_json=as_json)))


@app.command(
    "device",
    epilog=examples_epilog(
        "thingjobs init device press-7",
        "thingjobs init device press-7 --certificate --url mqtts://broker.example:8884",
    ),
)
def device(  # noqa: PLR0917 - typer makes options of them
    name: ThingName,
    directory: Directory = DEFAULT_DIRECTORY,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="A certificate instead of a password.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The broker's address. \\[default: mqtts:// and its first --host]"),
    ] = None,
    device_dir: Annotated[
        str, typer.Option(metavar="DIR", help="Where the files will lie on the device.")
    ] = DEVICE_DIRECTORY,
    renew: Renew = False,
    as_json: AsJson = False,
) -> None:
    """Make a device's password or certificate, and the settings of its agent."""

    def work(setup: "Setup") -> list[str]:
        place = Path(device_dir).absolute()
        login = setup.add_device(name, certificate=certificate, url=url, device_directory=place, renew=renew)
        return [
            f"copy {login.root}/ to {place} on the device",
            f"thingjobs-agent run --config {place / login.settings.name}",
        ]

    end(lambda: _run(directory, work, Output(as_json=as_json)))


@app.command(
    "operator",
    epilog=examples_epilog("thingjobs init operator ada", "thingjobs init operator dashboard --read-only"),
)
def operator(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The operator's user name.")],
    directory: Directory = DEFAULT_DIRECTORY,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="An access key that may change nothing, and no password.")
    ] = False,
    renew: Renew = False,
    as_json: AsJson = False,
) -> None:
    """Make an operator's password and access key, and tell the broker that the user is an operator."""

    def work(setup: "Setup") -> list[str]:
        login = setup.add_operator(name, read_only=read_only, renew=renew)
        aws = setup.aws_commands(login)
        own = f". {shlex.quote(str(login.environment))} && thingjobs job list"
        return aws if read_only else [_RELOAD, own, *aws]

    end(lambda: _run(directory, work, Output(as_json=as_json)))


@app.command("revoke", epilog=examples_epilog("thingjobs init revoke press-7"))
def revoke(name: ThingName, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """Lock a lost device out: its password is removed, its certificates are revoked."""

    def work(setup: "Setup") -> list[str]:
        setup.revoke_device(name)
        return [_RELOAD]

    end(lambda: _run(directory, work, Output(as_json=as_json)))


_RELOAD: Final = "restart the broker: it reads operators and revoked certificates when it starts"


def _run(directory: str, work: Callable[["Setup"], list[str]], output: Output) -> None:
    """Do the work, and show what became of each file and what comes next."""
    from thingjobs_broker.provision.errors import NameRefused, ProvisionError
    from thingjobs_broker.provision.setup import Setup

    try:
        setup = Setup(Path(directory))
        following = work(setup)
    except NameRefused as error:
        raise UsageError(str(error)) from None
    except ProvisionError as error:
        raise LocalFileError(str(error)) from None
    except OSError as error:
        raise LocalFileError(f"{error.filename or directory}: {error.strerror or error}") from None
    if output.as_json:
        files = [{"path": str(path), "fate": fate} for path, fate in setup.files.fates.items()]
        output.document({"files": files, "next": following})
        return
    output.columns(((fate, str(path)) for path, fate in setup.files.fates.items()), indent=0)
    output.line("next")
    for line in following:
        output.line(f"  {line}")
