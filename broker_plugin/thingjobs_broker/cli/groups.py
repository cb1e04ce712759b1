"""`thingjobs group`: thing groups, static ones with members and dynamic ones with a query."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thingjobs_broker.cli import grammar
from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.errors import RefusedError, UsageError
from thingjobs_broker.cli.files import read_text
from thingjobs_broker.cli.options import GroupName, Limit, completed_group
from thingjobs_broker.cli.output import Output, moment, printable

if TYPE_CHECKING:
    from thingjobs_broker.cli.connection import Connection


class IndexingMode(StrEnum):
    """What can be searched."""

    OFF = "OFF"
    REGISTRY = "REGISTRY"


app = typer.Typer(no_args_is_help=True, help="Group things, by name or by a query.")

Things = Annotated[list[str] | None, typer.Argument(metavar="THING...", help="Names of things.")]
FromFile = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE", help="Names of things, one a line; - reads standard input."),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="With the groups below it.")]


@client_command(
    app,
    "create",
    "thingjobs group create berlin",
    "thingjobs group create hall-3 --parent berlin --attribute floor=2",
    'thingjobs group create outdated --query "attributes.version:1.*"',
)
async def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 128 characters of a-z A-Z 0-9 : _ -")],
    *,
    query: Annotated[
        str | None, typer.Option(metavar="QUERY", help="A dynamic group: all things that match.")
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP", help="The group that it lies in, for good.", autocompletion=completed_group
        ),
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is.")] = None,
    attribute: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = None,
) -> None:
    """Make a group: static, or with --query dynamic. The same again is no error."""
    if query is not None and parent is not None:
        raise UsageError("--parent is for static groups: a dynamic group stands alone")
    attributes = grammar.pairs("--attribute", attribute)
    properties = {
        "thingGroupDescription": description,
        "attributePayload": {"attributes": attributes} if attributes else None,
    }
    properties = {member: value for member, value in properties.items() if value is not None}
    async with session.connect() as connection:
        reply = await connection.call(
            "CreateThingGroup" if query is None else "CreateDynamicThingGroup",
            thingGroupName=name,
            parentGroupName=parent,
            queryString=query,
            thingGroupProperties=properties or None,
            tags=grammar.tags(tag) or None,
        )
    session.output.done(reply, f"group {printable(reply['thingGroupName'])} is made")


@client_command(
    app,
    "list",
    "thingjobs group list",
    "thingjobs group list --parent berlin",
    "thingjobs group list --prefix hall- --json",
)
async def list_groups(
    session: Session,
    parent: Annotated[
        str | None,
        typer.Option(metavar="GROUP", help="Only below this group.", autocompletion=completed_group),
    ] = None,
    prefix: Annotated[str | None, typer.Option(metavar="TEXT", help="Only names that begin so.")] = None,
    limit: Limit = None,
) -> None:
    """List groups, static and dynamic."""
    filters = {"parentGroup": parent, "namePrefixFilter": prefix}
    async with session.connect() as connection:
        pages = connection.pages("ListThingGroups", "thingGroups", limit, **filters)
        found = [group async for group in pages]
    if session.output.as_json:
        session.output.document({"thingGroups": found})
        return
    rows = [(printable(group["groupName"]), printable(group["groupArn"])) for group in found]
    session.output.table(("GROUP", "ARN"), rows, empty="no groups")


@client_command(app, "show", "thingjobs group show berlin", "thingjobs group show berlin --json")
async def show(session: Session, name: GroupName) -> None:
    """Show a group: where it lies, its query, its timeouts, and how many things it has."""
    async with session.connect() as connection:
        group = await connection.call("DescribeThingGroup", thingGroupName=name)
        timeouts = await connection.call("DescribeThingGroupTimeouts", thingGroupName=name)
        members = [thing async for thing in _members(connection, name, None, recursive=True)]
        if session.output.as_json:
            session.output.document({"group": group, "timeouts": timeouts, "thingCount": len(members)})
        else:
            _show(session.output, group, timeouts, len(members), await connection.now())


@client_command(
    app,
    "members",
    "thingjobs group members berlin",
    "thingjobs group members berlin --recursive --json",
)
async def members(
    session: Session, name: GroupName, recursive: Recursive = False, limit: Limit = None
) -> None:
    """List the things of a group."""
    async with session.connect() as connection:
        found = [thing async for thing in _members(connection, name, limit, recursive=recursive)]
    if session.output.as_json:
        session.output.document({"things": found})
        return
    session.output.table(("THING",), [(printable(thing),) for thing in found], empty="no things")


@client_command(
    app,
    "add",
    "thingjobs group add berlin gateway-7 gateway-8",
    "thingjobs group add berlin --from names.txt",
)
async def add(session: Session, name: GroupName, things: Things = None, from_file: FromFile = None) -> None:
    """Put things into a static group. One that is there already is no error."""
    names = _names(things, from_file)
    await _each(session, "AddThingToThingGroup", name, names, "added to")


@client_command(app, "remove", "thingjobs group remove berlin gateway-7")
async def remove(
    session: Session, name: GroupName, things: Things = None, from_file: FromFile = None
) -> None:
    """Take things out of a static group. One that is not in it is no error."""
    names = _names(things, from_file)
    await _each(session, "RemoveThingFromThingGroup", name, names, "removed from")


@client_command(app, "delete", "thingjobs group delete berlin")
async def delete(session: Session, name: GroupName) -> None:
    """Delete a group that has none below it; its things stay registered."""
    async with session.connect() as connection:
        group = await connection.call("DescribeThingGroup", thingGroupName=name)
        kind = "Dynamic" if group.get("queryString") else ""
        reply = await connection.call(f"Delete{kind}ThingGroup", thingGroupName=name)
    session.output.done(reply, f"group {printable(name)} is deleted")


@client_command(
    app,
    "timeouts",
    "thingjobs group timeouts berlin",
    "thingjobs group timeouts berlin --default 30m --maximum 2h",
    "thingjobs group timeouts berlin --none",
)
async def timeouts(
    session: Session,
    name: GroupName,
    default: Annotated[
        str | None, typer.Option(metavar="SPAN", help="For jobs for the group that name no timeout.")
    ] = None,
    maximum: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Longer ones, and none, become this.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Neither.")] = False,
) -> None:
    """Show the timeouts of a group's jobs, or set both of them: what is not given is none."""
    given = {
        "defaultTimeoutInMinutes": grammar.minutes("--default", default) if default else None,
        "maximumTimeoutInMinutes": grammar.minutes("--maximum", maximum) if maximum else None,
    }
    is_given = default is not None or maximum is not None
    if none and is_given:
        raise UsageError("--none stands alone")
    async with session.connect() as connection:
        if none or is_given:
            await connection.call("UpdateThingGroupTimeouts", thingGroupName=name, **given)
        reply = await connection.call("DescribeThingGroupTimeouts", thingGroupName=name)
    session.output.done(reply, f"{printable(name)}: {_timeouts(reply)}")


@client_command(
    app,
    "index",
    "thingjobs group index",
    "thingjobs group index REGISTRY --connectivity",
    "thingjobs group index OFF",
)
async def index(
    session: Session,
    mode: Annotated[
        IndexingMode | None,
        typer.Argument(metavar="OFF|REGISTRY", case_sensitive=False, help="What can be searched."),
    ] = None,
    connectivity: Annotated[
        bool, typer.Option("--connectivity", help="Also who is connected, in the embedded broker.")
    ] = False,
) -> None:
    """Show what queries and dynamic groups can look at, or set it. It is off until it is turned on."""
    if connectivity and mode is not IndexingMode.REGISTRY:
        raise UsageError("--connectivity goes with REGISTRY")
    async with session.connect() as connection:
        if mode is not None:
            wanted = {
                "thingIndexingMode": mode.value,
                "thingConnectivityIndexingMode": "STATUS" if connectivity else "OFF",
            }
            await connection.call("UpdateIndexingConfiguration", thingIndexingConfiguration=wanted)
        reply = await connection.call("GetIndexingConfiguration")
    found = reply.get("thingIndexingConfiguration", {})
    is_known = found.get("thingConnectivityIndexingMode", "OFF") != "OFF"
    also = " and who is connected" if is_known else ""
    session.output.done(reply, f"indexing: {printable(found.get('thingIndexingMode', 'OFF'))}{also}")


async def _each(session: Session, operation: str, group: str, names: list[str], done: str) -> None:
    """Do something to each thing, also after one was refused; what was refused is the answer."""
    refused: list[RefusedError] = []
    async with session.connect() as connection:
        with session.output.progress(f"{len(names)} things", len(names)) as advance:
            for name in names:
                try:
                    await connection.call(operation, thingGroupName=group, thingName=name)
                except RefusedError as error:
                    refused.append(error)
                advance()
    count = len(names) - len(refused)
    if refused:
        told = f"{count} of {len(names)} things {done} {group}, {len(refused)} refused; the first"
        raise RefusedError(refused[0].code, f"{told}: {refused[0]}")
    answer = {"thingGroupName": group, "things": names}
    session.output.done(answer, f"{count} thing{'s' * (count > 1)} {done} {printable(group)}")


def _names(things: list[str] | None, file: str | None) -> list[str]:
    """Return the names of the arguments and of the file; lines that begin with # are none."""
    names = list(things or ())
    if file is not None:
        lines = [line.strip() for line in read_text(file, "list of things").splitlines()]
        names += [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise UsageError("which things? Give names, or --from FILE with a name on each line")
    return names


def _members(connection: "Connection", name: str, limit: int | None, *, recursive: bool) -> Any:
    return connection.pages(
        "ListThingsInThingGroup", "things", limit, thingGroupName=name, recursive=recursive
    )


def _show(
    output: Output, group: Mapping[str, Any], timeouts: Mapping[str, Any], count: int, now: float
) -> None:
    properties = group.get("thingGroupProperties", {})
    metadata = group.get("thingGroupMetadata", {})
    above = [each["groupName"] for each in metadata.get("rootToParentThingGroups", ())]
    attributes = properties.get("attributePayload", {}).get("attributes", {})
    output.line(printable(group["thingGroupName"]))
    output.pairs(
        {
            "description": printable(properties.get("thingGroupDescription", "")),
            "in": printable(" / ".join(above)),
            "query": printable(group.get("queryString", "")),
            "status": printable(group.get("status", "")),
            "attributes": printable(" ".join(f"{key}={value}" for key, value in sorted(attributes.items()))),
            "things": f"{count}, with the groups below it" if count else "none",
            "timeouts": _timeouts(timeouts),
            "created": moment(metadata.get("creationDate"), now),
            "version": str(group.get("version", "")),
            "ARN": printable(group["thingGroupArn"]),
        }
    )


def _timeouts(found: Mapping[str, Any]) -> str:
    default, maximum = found.get("defaultTimeoutInMinutes"), found.get("maximumTimeoutInMinutes")
    shown = [f"{minutes} min" if minutes else "none" for minutes in (default, maximum)]
    return f"default {shown[0]}, maximum {shown[1]}"
