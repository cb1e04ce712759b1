"""`thingjobs tag`: tags of jobs, templates and groups, which are named by kind and name or by ARN."""

from typing import TYPE_CHECKING, Annotated

import typer

from thingjobs_broker.cli import grammar
from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.output import printable

if TYPE_CHECKING:
    from thingjobs_broker.cli.connection import Connection

app = typer.Typer(no_args_is_help=True, help="Tag jobs, templates, groups and types.")

KINDS = {
    "job": ("DescribeJob", "jobId", "jobArn"),
    "template": ("DescribeJobTemplate", "jobTemplateId", "jobTemplateArn"),
    "group": ("DescribeThingGroup", "thingGroupName", "thingGroupArn"),
    "type": ("DescribeThingType", "thingTypeName", "thingTypeArn"),
}
"""Which operation tells the ARN of a name."""

Resource = Annotated[
    str, typer.Argument(metavar="KIND/NAME", help="Such as job/update-2026-11 or group/berlin; or an ARN.")
]


@client_command(
    app, "list", "thingjobs tag list job/update-2026-11", "thingjobs tag list group/berlin --json"
)
async def list_tags(session: Session, resource: Resource) -> None:
    """List the tags of something."""
    _check(resource)
    async with session.connect() as connection:
        arn = await _arn(connection, resource)
        pages = connection.pages("ListTagsForResource", "tags", None, resourceArn=arn)
        tags = [tag async for tag in pages]
    if session.output.as_json:
        session.output.document({"tags": tags})
        return
    rows = [(printable(tag["Key"]), printable(tag.get("Value", ""))) for tag in tags]
    session.output.table(("KEY", "VALUE"), rows, empty="no tags")


@client_command(app, "add", "thingjobs tag add job/update-2026-11 team=edge ring=canary")
async def add(
    session: Session,
    resource: Resource,
    tags: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE", help="A key that is there gets the value.")
    ],
) -> None:
    """Tag something."""
    _check(resource)
    given = [{"Key": key, "Value": value} for key, value in grammar.pairs("a tag", tags).items()]
    async with session.connect() as connection:
        arn = await _arn(connection, resource)
        reply = await connection.call("TagResource", resourceArn=arn, tags=given)
    session.output.done(reply, f"{printable(resource)} is tagged")


@client_command(app, "remove", "thingjobs tag remove job/update-2026-11 ring")
async def remove(
    session: Session,
    resource: Resource,
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help="What to take away.")],
) -> None:
    """Take tags away."""
    _check(resource)
    async with session.connect() as connection:
        arn = await _arn(connection, resource)
        reply = await connection.call("UntagResource", resourceArn=arn, tagKeys=keys)
    session.output.done(reply, f"tags of {printable(resource)} are removed")


def _check(resource: str) -> None:
    kind, slash, name = resource.partition("/")
    if not resource.startswith("arn:") and (kind not in KINDS or not slash or not name):
        kinds = ", ".join(f"{each}/NAME" for each in KINDS)
        raise UsageError(f"{resource!r} is no resource; expected {kinds} or an ARN")


async def _arn(connection: "Connection", resource: str) -> str:
    if resource.startswith("arn:"):
        return resource
    kind, _, name = resource.partition("/")
    operation, member, arn = KINDS[kind]
    reply = await connection.call(operation, **{member: name})
    return str(reply.get("job", reply)[arn])
