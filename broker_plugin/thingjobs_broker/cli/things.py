"""`thingjobs thing`: the registry."""

from typing import Annotated

import typer

from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.options import Limit
from thingjobs_broker.cli.output import printable

app = typer.Typer(no_args_is_help=True, help="Register things and list them.")


@client_command(
    app,
    "create",
    "thingjobs thing create gateway-7",
    "thingjobs thing create gateway-7 --attribute site=berlin --attribute floor=2",
)
async def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 128 characters of a-z A-Z 0-9 : _ -")],
    attribute: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = None,
) -> None:
    """Register a thing. The same again, with the same attributes, is no error."""
    attributes = dict(_attribute(given) for given in attribute or [])
    payload = {"attributes": attributes} if attributes else None
    async with session.connect() as connection:
        reply = await connection.call("CreateThing", thingName=name, attributePayload=payload)
    if session.output.as_json:
        session.output.document(reply)
    else:
        session.output.line(f"thing {printable(reply['thingName'])} is registered")


@client_command(
    app,
    "list",
    "thingjobs thing list",
    "thingjobs thing list --attribute site=berlin",
    "thingjobs thing list --json",
)
async def list_things(
    session: Session,
    attribute: Annotated[
        str | None, typer.Option(metavar="KEY[=VALUE]", help="Only things with this attribute.")
    ] = None,
    limit: Limit = None,
) -> None:
    """List things in the order in which they were registered."""
    key, equals, value = (attribute or "").partition("=")
    if attribute is not None and not key:
        raise UsageError(f"--attribute must be KEY or KEY=VALUE, not {attribute!r}")
    filters = {"attributeName": key or None, "attributeValue": value if equals else None}
    async with session.connect() as connection:
        things = [thing async for thing in connection.pages("ListThings", "things", limit, **filters)]
    if session.output.as_json:
        session.output.document({"things": things})
        return
    rows = [
        (
            printable(thing["thingName"]),
            " ".join(printable(f"{key}={value}") for key, value in sorted(thing["attributes"].items())),
            str(thing["version"]),
        )
        for thing in things
    ]
    session.output.table(("THING", "ATTRIBUTES", "VERSION"), rows, empty="no things")


def _attribute(given: str) -> tuple[str, str]:
    key, equals, value = given.partition("=")
    if not key or not equals:
        raise UsageError(f"--attribute must be KEY=VALUE, not {given!r}")
    return key, value
