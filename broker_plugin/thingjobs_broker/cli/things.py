"""`thingjobs thing`: the registry's things, and what they belong to."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thingjobs_broker.cli import grammar
from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.job_request import search
from thingjobs_broker.cli.options import Limit, ThingName, completed_group, completed_type
from thingjobs_broker.cli.output import Output, printable
from thingjobs_broker.cli.why import connection_of

if TYPE_CHECKING:
    from thingjobs_broker.cli.connection import Connection

app = typer.Typer(no_args_is_help=True, help="Register things, find, change and delete them.")

Attributes = Annotated[
    list[str] | None, typer.Option("--attribute", metavar="KEY=VALUE", help="May be repeated.")
]
Type = Annotated[
    str | None, typer.Option("--type", metavar="NAME", help="Its thing type.", autocompletion=completed_type)
]
ExpectedVersion = Annotated[
    int | None, typer.Option(metavar="N", help="Only if it is still at this version.")
]


@client_command(
    app,
    "create",
    "thingjobs thing create gateway-7",
    "thingjobs thing create gateway-7 --attribute site=berlin --attribute floor=2 --type gateway",
    "thingjobs thing create gateway-7 --group berlin",
)
async def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 128 characters of a-z A-Z 0-9 : _ -")],
    attribute: Attributes = None,
    type_: Type = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A group that it joins; may be repeated.", autocompletion=completed_group
        ),
    ] = None,
) -> None:
    """Register a thing. The same again, with the same attributes, is no error."""
    attributes = grammar.pairs("--attribute", attribute)
    payload = {"attributes": attributes} if attributes else None
    async with session.connect() as connection:
        reply = await connection.call(
            "CreateThing", thingName=name, attributePayload=payload, thingTypeName=type_
        )
        for each in group or ():
            await connection.call("AddThingToThingGroup", thingName=name, thingGroupName=each)
    session.output.done(reply, f"thing {printable(reply['thingName'])} is registered")


@client_command(
    app,
    "list",
    "thingjobs thing list",
    "thingjobs thing list --attribute site=berlin --type gateway",
    'thingjobs thing list --query "attributes.site:berlin AND connectivity.connected:false"',
    "thingjobs thing list --json",
)
async def list_things(
    session: Session,
    attribute: Annotated[
        str | None, typer.Option(metavar="KEY[=VALUE]", help="Only things with this attribute.")
    ] = None,
    type_: Type = None,
    query: Annotated[
        str | None, typer.Option(metavar="QUERY", help="Only what a query finds; it stands alone.")
    ] = None,
    limit: Limit = None,
) -> None:
    """List things in the order in which they were registered."""
    key, equals, value = (attribute or "").partition("=")
    if attribute is not None and not key:
        raise UsageError(f"--attribute must be KEY or KEY=VALUE, not {attribute!r}")
    if query is not None and (attribute is not None or type_ is not None):
        raise UsageError("--query stands alone; write attributes.KEY:VALUE or thingTypeName:NAME into it")
    filters = {
        "attributeName": key or None,
        "attributeValue": value if equals else None,
        "thingTypeName": type_,
    }
    async with session.connect() as connection:
        if query is not None:
            things = await search(connection, query, limit)
        else:
            things = [thing async for thing in connection.pages("ListThings", "things", limit, **filters)]
    if session.output.as_json:
        session.output.document({"things": things})
        return
    _show_list(session.output, things)


@client_command(app, "show", "thingjobs thing show gateway-7", "thingjobs thing show gateway-7 --json")
async def show(session: Session, name: ThingName) -> None:
    """Show a thing, its groups, its connection and how many jobs wait for it."""
    async with session.connect() as connection:
        thing = await connection.call("DescribeThing", thingName=name)
        groups = await _groups(connection, name)
        current = (await connection.call("ExplainExecution", thingName=name))["thing"]
        if session.output.as_json:
            session.output.document(thing | {"thingGroups": groups, "now": current})
            return
        now = await connection.now()
    session.output.line(printable(thing["thingName"]))
    session.output.pairs(
        {
            "type": printable(thing.get("thingTypeName", "")),
            "attributes": _attributes(thing),
            "version": str(thing["version"]),
            "groups": ", ".join(printable(each["groupName"]) for each in groups),
            "connection": connection_of(current, now),
            "jobs": f"{current['pending']} pending; see thingjobs why"
            if current["pending"]
            else "none pending",
            "ARN": printable(thing["thingArn"]),
        }
    )


@client_command(
    app,
    "update",
    "thingjobs thing update gateway-7 --attribute floor=3",
    "thingjobs thing update gateway-7 --remove-attribute floor --type gateway",
    "thingjobs thing update gateway-7 --attribute site=bonn --replace",
)
async def update(
    session: Session,
    name: ThingName,
    *,
    attribute: Attributes = None,
    remove_attribute: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Take an attribute away; may be repeated.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop all attributes that are not given.")
    ] = False,
    type_: Type = None,
    remove_type: Annotated[bool, typer.Option("--remove-type", help="Leave it without a type.")] = False,
    expected_version: ExpectedVersion = None,
) -> None:
    """Change a thing's attributes and type; what is not named stays."""
    attributes = grammar.pairs("--attribute", attribute) | dict.fromkeys(remove_attribute or (), "")
    if not (attributes or replace or type_ or remove_type):
        raise UsageError("nothing to change; see thingjobs thing update --help")
    payload = {"attributes": attributes, "merge": not replace} if attributes or replace else None
    async with session.connect() as connection:
        reply = await connection.call(
            "UpdateThing",
            thingName=name,
            attributePayload=payload,
            thingTypeName=type_,
            removeThingType=remove_type or None,
            expectedVersion=expected_version,
        )
    session.output.done(reply, f"thing {printable(name)} is updated")


@client_command(app, "delete", "thingjobs thing delete gateway-7")
async def delete(session: Session, name: ThingName, expected_version: ExpectedVersion = None) -> None:
    """Delete a thing: it leaves its groups, and what it has not ended is removed."""
    async with session.connect() as connection:
        reply = await connection.call("DeleteThing", thingName=name, expectedVersion=expected_version)
    session.output.done(reply, f"thing {printable(name)} is deleted")


@client_command(app, "groups", "thingjobs thing groups gateway-7", "thingjobs thing groups gateway-7 --json")
async def groups(session: Session, name: ThingName) -> None:
    """List the groups of a thing, static and dynamic."""
    async with session.connect() as connection:
        found = await _groups(connection, name)
    if session.output.as_json:
        session.output.document({"thingGroups": found})
        return
    rows = [(printable(each["groupName"]),) for each in found]
    session.output.table(("GROUP",), rows, empty="no groups")


async def _groups(connection: "Connection", name: str) -> list[dict[str, Any]]:
    pages = connection.pages("ListThingGroupsForThing", "thingGroups", None, thingName=name)
    return [each async for each in pages]


def _show_list(output: Output, things: list[dict[str, Any]]) -> None:
    """What a search finds has no version."""
    columns = ["THING", "ATTRIBUTES", "VERSION"]
    has_types = any(thing.get("thingTypeName") for thing in things)
    rows = [
        (
            printable(thing["thingName"]),
            *([printable(thing.get("thingTypeName", ""))] if has_types else []),
            _attributes(thing),
            str(thing.get("version", "")),
        )
        for thing in things
    ]
    if has_types:
        columns.insert(1, "TYPE")
    output.table(columns, rows, empty="no things")


def _attributes(thing: Mapping[str, Any]) -> str:
    return " ".join(printable(f"{key}={value}") for key, value in sorted(thing.get("attributes", {}).items()))
