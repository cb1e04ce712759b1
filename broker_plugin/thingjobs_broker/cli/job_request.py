"""From the options of a job to the request for it: templates, groups and queries are looked up by name."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.cli import helper_groups, job_options
from thingjobs_broker.cli.errors import CliError, RefusedError, UsageError
from thingjobs_broker.cli.output import printable
from thingjobs_protocol.limits import TARGETS_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from thingjobs_broker.cli.connection import Connection
    from thingjobs_broker.cli.output import Output

NOT_FOUND: Final = "ResourceNotFoundException"
SEARCH_PAGE: Final = 100
BUILDING_SECONDS: Final = 0.05
"""How often to ask whether a dynamic group has all its members."""

Request = dict[str, Any]


def new_job_id() -> str:
    """Return an id from the time, so that it sorts, with a random end, so that it is not taken."""
    import secrets

    return f"job-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def drafted(given: job_options.Given, job_id: str | None) -> Request:
    """Return what of a request the options say by themselves; nothing is looked up.

    Raises:
        UsageError, LocalFileError: an option or the document is wrong, or what a job needs is missing.

    """
    if not (given["target"] or given["group"] or given["query"]):
        raise UsageError("whom is the job for? Give --target NAME, --group NAME or --query QUERY")
    if given["query"] and (given["target"] or given["group"]):
        raise UsageError("--query stands alone; put the groups into the query, as thingGroupNames:NAME")
    if given["document"] is None and given["template"] is None:
        raise UsageError("what is to be done? Give --document FILE, or --template NAME")
    return {"jobId": job_id or new_job_id(), **job_options.members(given)}


@asynccontextmanager
async def completed(
    connection: Connection, draft: Request, given: job_options.Given, output: Output
) -> AsyncIterator[Request]:
    """Give the whole request. If it comes to nothing, what was made for it is taken back.

    Raises:
        RefusedError: a template, a group or the query does not exist, or nothing matches.

    """
    request = draft | await _leads(connection, given)
    if given["template"]:
        request["jobTemplateArn"] = await template_arn(connection, given["template"])
    made: str | None = None
    if given["query"]:
        found = await _found(connection, given["query"])
        if given["continuous"] or len(found) > TARGETS_MAX:
            made = await _group_name(connection, request["jobId"], is_kept=given["continuous"])
            if given["continuous"]:
                _tell(output, f"the query is kept as the dynamic group {made}")
        else:
            request["targets"] = found
    else:
        request["targets"] = await _named(connection, given)
    try:
        if made is not None:
            request["targets"] = [await _dynamic_group(connection, made, given["query"])]
        yield request
    except BaseException:  # Ctrl-C too
        if made is not None:
            with contextlib.suppress(CliError):
                await connection.call("DeleteDynamicThingGroup", thingGroupName=made)
        raise


async def template_arn(connection: Connection, name: str) -> str:
    """Return the ARN of a template: of one's own by its id, or of a managed one by its name."""
    if name.startswith("arn:"):
        return name
    found = await described_template(connection, name)
    return str(found.get("jobTemplateArn") or found["templateArn"])


async def described_template(connection: Connection, name: str) -> Request:
    """Return a template: one's own by its id, or a managed one by its name, or as NAME:VERSION.

    Raises:
        RefusedError: there is neither.

    """
    managed, _, version = name.partition(":")
    if not version:
        with _unless_missing():
            return await connection.call("DescribeJobTemplate", jobTemplateId=name)
    with _unless_missing():
        return await connection.call(
            "DescribeManagedJobTemplate", templateName=managed, templateVersion=version or None
        )
    raise RefusedError(
        NOT_FOUND, f"no template, own or managed, has the name {name!r}; see thingjobs template list"
    )


async def group_arn(connection: Connection, name: str) -> str:
    """Return the ARN of a thing group."""
    if name.startswith("arn:"):
        return name
    reply = await connection.call("DescribeThingGroup", thingGroupName=name)
    return str(reply["thingGroupArn"])


async def search(connection: Connection, query: str, count_max: int | None = None) -> list[Request]:
    """Return the things that a query finds, at most `count_max`."""
    things: list[Request] = []
    token = None
    while count_max is None or len(things) < count_max:
        try:
            reply = await connection.call(
                "SearchIndex", queryString=query, maxResults=SEARCH_PAGE, nextToken=token
            )
        except RefusedError as error:
            raise with_fix(error) from None
        things += reply.get("things", [])
        token = reply.get("nextToken")
        if token is None:
            break
    return things[:count_max]


def with_fix(error: RefusedError) -> RefusedError:
    """Return the error of a query: as with AWS, nothing is searched before indexing is turned on."""
    if error.code != NOT_FOUND:
        return error
    message = str(error).removeprefix(f"{error.code}: ")
    return RefusedError(error.code, f"{message}; turn it on with: thingjobs group index REGISTRY")


async def _leads(connection: Connection, given: job_options.Given) -> Request:
    """Return the schedule where it counts from now on: by the service's clock, which is not always ours."""
    if not any((given[name] or "").startswith("+") for name in ("start", "end")):
        return {}
    now = datetime.fromtimestamp(await connection.now(), UTC)
    return {"schedulingConfig": job_options.schedule(given, now)}


async def _named(connection: Connection, given: job_options.Given) -> list[str]:
    groups = [await group_arn(connection, name) for name in given["group"] or ()]
    return [*(given["target"] or ()), *groups]


async def _found(connection: Connection, query: str) -> list[str]:
    """Return the names that a query finds, one more than a job may name at most."""
    names = [thing["thingName"] for thing in await search(connection, query, TARGETS_MAX + 1)]
    if not names:
        raise nothing_found(query)
    return names


def nothing_found(query: str) -> RefusedError:
    """Return the error of a query without an answer."""
    return RefusedError(
        NOT_FOUND, f"the query {query!r} finds no thing; try it with thingjobs thing list --query"
    )


async def _group_name(connection: Connection, job_id: str, *, is_kept: bool) -> str:
    """Return the name of a query's group; what is done once needs it no longer than for its rollout."""
    if is_kept:
        return f"{job_id}-query"
    await helper_groups.clear_away(connection)
    return helper_groups.PREFIX + job_id


async def _dynamic_group(connection: Connection, name: str, query: str) -> str:
    """Make the group, and wait until everybody is in it: a snapshot is of those who are there."""
    import asyncio

    reply = await connection.call("CreateDynamicThingGroup", thingGroupName=name, queryString=query)
    status = "BUILDING"
    while status == "BUILDING":
        await asyncio.sleep(BUILDING_SECONDS)
        status = (await connection.call("DescribeThingGroup", thingGroupName=name))["status"]
    return str(reply["thingGroupArn"])


@contextlib.contextmanager
def _unless_missing() -> Iterator[None]:
    """Go on after what was not found; an id that no such resource can have is not found either."""
    try:
        yield
    except RefusedError as error:
        if error.code not in (NOT_FOUND, "InvalidRequestException"):
            raise


def _tell(output: Output, text: str) -> None:
    if not output.as_json:
        output.line(printable(text))


async def for_preview(connection: Connection, draft: Request, given: job_options.Given) -> Request:
    """Return the whole request without making anything for it; the service looks a query up by itself.

    Raises:
        RefusedError: a template or a group does not exist.

    """
    request = {name: value for name, value in draft.items() if name != "jobId"}
    request |= await _leads(connection, given)
    if given["template"]:
        request["jobTemplateArn"] = await template_arn(connection, given["template"])
    if given["query"]:
        request["queryString"] = given["query"]
    else:
        request["targets"] = await _named(connection, given)
    return request
