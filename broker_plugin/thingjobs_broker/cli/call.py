"""`thingjobs call`: any operation of the control plane by its AWS name."""

from typing import Annotated

import typer

from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.files import read_request


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    client_command(
        app,
        "call",
        """thingjobs call DescribeJob --json '{"jobId": "update-2026-11"}'""",
        "thingjobs call ListThings",
        "cat job.json | thingjobs call CreateJob --json -",
        json_option=False,  # it has its own
    )(call)


async def call(
    session: Session,
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="Such as DescribeJob.")],
    request: Annotated[
        str,
        typer.Option(
            "--json", metavar="OBJECT", help="The request's members in camelCase; - reads standard input."
        ),
    ] = "{}",
) -> None:
    """Send a request as it stands and write the answer as JSON."""
    members = read_request(request)
    async with session.connect() as connection:
        session.output.document(await connection.request(operation, members))
