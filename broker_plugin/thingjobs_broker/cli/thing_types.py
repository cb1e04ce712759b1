"""`thingjobs type`: thing types."""

from typing import Annotated

import typer

from thingjobs_broker.cli import grammar
from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.options import Limit, completed_type
from thingjobs_broker.cli.output import moment, printable

app = typer.Typer(no_args_is_help=True, help="Types of things, which allow for more attributes.")

TypeName = Annotated[
    str, typer.Argument(metavar="TYPE", help="The type's name.", autocompletion=completed_type)
]


@client_command(
    app,
    "create",
    "thingjobs type create gateway",
    'thingjobs type create gateway --description "Edge gateways" --searchable site',
)
async def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 128 characters of a-z A-Z 0-9 : _ -")],
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What they are.")] = None,
    searchable: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="An attribute to search for; up to three.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = None,
) -> None:
    """Make a thing type. The same again is no error."""
    properties = {"thingTypeDescription": description, "searchableAttributes": searchable or None}
    properties = {member: value for member, value in properties.items() if value is not None}
    async with session.connect() as connection:
        reply = await connection.call(
            "CreateThingType",
            thingTypeName=name,
            thingTypeProperties=properties or None,
            tags=grammar.tags(tag) or None,
        )
    session.output.done(reply, f"type {printable(reply['thingTypeName'])} is made")


@client_command(app, "list", "thingjobs type list", "thingjobs type list --json")
async def list_types(session: Session, limit: Limit = None) -> None:
    """List thing types."""
    async with session.connect() as connection:
        found = [each async for each in connection.pages("ListThingTypes", "thingTypes", limit)]
    if session.output.as_json:
        session.output.document({"thingTypes": found})
        return
    rows = [
        (
            printable(each["thingTypeName"]),
            printable(each.get("thingTypeProperties", {}).get("thingTypeDescription", "")),
            "deprecated" if each.get("thingTypeMetadata", {}).get("deprecated") else "",
        )
        for each in found
    ]
    session.output.table(("TYPE", "DESCRIPTION", ""), rows, empty="no thing types")


@client_command(app, "show", "thingjobs type show gateway", "thingjobs type show gateway --json")
async def show(session: Session, name: TypeName) -> None:
    """Show a thing type."""
    async with session.connect() as connection:
        found = await connection.call("DescribeThingType", thingTypeName=name)
        if session.output.as_json:
            session.output.document(found)
            return
        now = await connection.now()
    properties, metadata = found.get("thingTypeProperties", {}), found.get("thingTypeMetadata", {})
    session.output.line(printable(found["thingTypeName"]))
    session.output.pairs(
        {
            "description": printable(properties.get("thingTypeDescription", "")),
            "searchable": printable(", ".join(properties.get("searchableAttributes", ()))),
            "created": moment(metadata.get("creationDate"), now),
            "deprecated": moment(metadata.get("deprecationDate"), now),
            "ARN": printable(found.get("thingTypeArn", "")),
        }
    )


@client_command(
    app, "deprecate", "thingjobs type deprecate gateway", "thingjobs type deprecate gateway --undo"
)
async def deprecate(
    session: Session,
    name: TypeName,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back.")] = False,
) -> None:
    """Let no new thing have the type; five minutes later it can be deleted."""
    async with session.connect() as connection:
        reply = await connection.call("DeprecateThingType", thingTypeName=name, undoDeprecate=undo or None)
    session.output.done(reply, f"type {printable(name)} is {'in use again' if undo else 'deprecated'}")


@client_command(app, "delete", "thingjobs type delete gateway")
async def delete(session: Session, name: TypeName) -> None:
    """Delete a thing type that no thing has and that has been deprecated for five minutes."""
    async with session.connect() as connection:
        reply = await connection.call("DeleteThingType", thingTypeName=name)
    session.output.done(reply, f"type {printable(name)} is deleted")
