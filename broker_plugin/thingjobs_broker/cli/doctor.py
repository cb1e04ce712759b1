"""`thingjobs doctor`: examines a running set-up, and shows for each check that it is well, or what helps."""

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.exit_codes import ExitCode
from thingjobs_broker.cli.files import read_password
from thingjobs_broker.cli.output import Output, printable

if TYPE_CHECKING:
    from thingjobs_broker.cli.broker_address import BrokerAddress
    from thingjobs_broker.doctor.case import DeviceLogin
    from thingjobs_broker.doctor.findings import Finding

_PANEL: Final = "A device to try"
_STYLES: Final = {"ok": "green", "failed": "red", "skipped": "dim"}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    client_command(
        app,
        "doctor",
        "thingjobs doctor",
        "thingjobs doctor --data-dir /var/lib/thingjobs --device press-7 --device-password-file password",
        "thingjobs doctor --broker mqtts://thingjobs-operator@broker.example --ca-file ca.crt --json",
    )(doctor)


async def doctor(
    session: Session,
    *,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its thing name.", rich_help_panel=_PANEL)
    ] = None,
    device_password_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Its password, in the first line.", rich_help_panel=_PANEL),
    ] = None,
    device_certificate_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Its certificate, instead of a password.", rich_help_panel=_PANEL),
    ] = None,
    device_key_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Private key of the certificate.", rich_help_panel=_PANEL),
    ] = None,
    device_broker: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Its listener. \\[default: that of --broker]", rich_help_panel=_PANEL
        ),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="The service's data directory, if it is on this machine."),
    ] = None,
) -> ExitCode:
    """Examine a running set-up: connection, service, rights of devices, clock and disk.

    Run it with an operator's login; beside Mosquitto the service's login shows more.

    With a device's login it tries what a device must not be able to.
    For that the thing thingjobs-doctor is registered and gets a job; both go in the end.
    """
    from thingjobs_broker.doctor.case import Case
    from thingjobs_broker.doctor.table import examine

    login = _device_login(
        session.address,
        name=device,
        url=device_broker,
        password_file=device_password_file,
        certificate_file=device_certificate_file,
        key_file=device_key_file,
    )
    for address in (session.address, login.address if login else session.address):
        _check_files(address)
    found = []
    case = Case(session.address, login, Path(data_dir) if data_dir else None)
    async with contextlib.aclosing(examine(case)) as findings:
        async for finding in findings:
            found.append(finding)
            if not session.output.as_json:
                _show(session.output, finding)
    well = all(finding.outcome != "failed" for finding in found)
    if session.output.as_json:
        session.output.document({"ok": well, "checks": [dataclasses.asdict(finding) for finding in found]})
    return ExitCode.OK if well else ExitCode.NOT_SUCCEEDED


def _check_files(address: "BrokerAddress") -> None:
    """Refuse files that cannot be used: they are the caller's mistake, not a finding."""
    from thingjobs_broker.cli.connection import tls_context

    tls_context(address)


def _device_login(
    address: "BrokerAddress",
    *,
    name: str | None,
    url: str | None,
    password_file: str | None,
    certificate_file: str | None,
    key_file: str | None,
) -> "DeviceLogin | None":
    from thingjobs_broker.broker_url import parse_broker_url
    from thingjobs_broker.doctor.case import DeviceLogin

    if name is None:
        if url or password_file or certificate_file or key_file:
            raise UsageError("whose login is it? name the device with --device NAME")
        return None
    if bool(password_file) == bool(certificate_file):
        raise UsageError(
            "give the device's --device-password-file or its --device-certificate-file, one of the two"
        )
    if url is not None:
        try:
            place = parse_broker_url(url)
        except ValueError as error:
            raise UsageError(f"--device-broker: {error}") from None
        address = dataclasses.replace(address, host=place.host, port=place.port, tls=place.tls)
    if certificate_file and not address.tls:
        raise UsageError(
            "a device's certificate goes with TLS: give its listener with --device-broker mqtts://..."
        )
    login = dataclasses.replace(
        address,
        # Beside a certificate a user name would not count.
        user=None if certificate_file else name,
        password=read_password(password_file) if password_file else None,
        certificate_file=certificate_file,
        key_file=key_file,
    )
    return DeviceLogin(name, login)


def _show(output: Output, finding: "Finding") -> None:
    outcome = Text(f"{finding.outcome:<8}", _STYLES[finding.outcome])
    output.line(outcome, f"{finding.check:<14}", printable(finding.message))
    if finding.fix:
        output.line(f"{'':8}{'':14}", Text(f"fix: {printable(finding.fix)}", "bold"))
