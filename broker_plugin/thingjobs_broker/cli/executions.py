"""`thingjobs execution`: one job on one thing, its details and its timeline."""

from typing import Annotated, Any

import typer
from rich.text import Text

from thingjobs_broker.cli import grammar
from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.options import (
    Force,
    JobId,
    Limit,
    ThingName,
    completed_job,
    completed_thing,
)
from thingjobs_broker.cli.output import Output, clock_time, moment, printable, status, thing_name
from thingjobs_protocol.status import JobExecutionStatus

app = typer.Typer(
    no_args_is_help=True, help="Look at one job on one thing; cancel, extend or delete it there."
)

Number = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Which attempt; the newest when left out.")
]


@client_command(
    app,
    "show",
    "thingjobs execution show gateway-7 update-2026-11",
    "thingjobs execution show gateway-7 update-2026-11 --number 1 --json",
)
async def show(session: Session, thing: ThingName, job_id: JobId, number: Number = None) -> None:
    """Show an execution: its state, what the device said, and who did what when."""
    key = {"thingName": thing, "jobId": job_id, "executionNumber": number}
    async with session.connect() as connection:
        execution = (await connection.call("DescribeJobExecution", **key))["execution"]
        timeline = (await connection.call("DescribeTimeline", **key))["timeline"]
        if session.output.as_json:
            session.output.document({"execution": execution, "timeline": timeline})
        else:
            show_execution(session.output, execution, timeline, await connection.now())


@client_command(
    app,
    "cancel",
    "thingjobs execution cancel gateway-7 update-2026-11",
    "thingjobs execution cancel gateway-7 update-2026-11 --force",
)
async def cancel(
    session: Session,
    thing: ThingName,
    job_id: JobId,
    force: Force = False,
    expected_version: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only if the execution is still at this version.")
    ] = None,
) -> None:
    """Cancel a job on one thing; the other things go on."""
    async with session.connect() as connection:
        reply = await connection.call(
            "CancelJobExecution",
            thingName=thing,
            jobId=job_id,
            force=force or None,
            expectedVersion=expected_version,
        )
    session.output.done(reply, f"job {printable(job_id)} is canceled on {printable(thing)}")


@client_command(
    app,
    "list",
    "thingjobs execution list update-2026-11",
    "thingjobs execution list update-2026-11 --status FAILED --json",
    "thingjobs execution list --thing gateway-7",
)
async def list_executions(
    session: Session,
    job_id: Annotated[
        str | None,
        typer.Argument(metavar="JOB_ID", help="Of this job.", autocompletion=completed_job),
    ] = None,
    thing: Annotated[
        str | None,
        typer.Option(metavar="THING", help="On this thing.", autocompletion=completed_thing),
    ] = None,
    status_: Annotated[
        JobExecutionStatus | None,
        typer.Option("--status", case_sensitive=False, help="Only those in this state."),
    ] = None,
    limit: Limit = None,
) -> None:
    """List executions of a job, of a thing, or of a job on a thing; each attempt is one."""
    if thing is not None:
        query = ("ListJobExecutionsForThing", {"thingName": thing, "jobId": job_id})
    elif job_id is not None:
        query = ("ListJobExecutionsForJob", {"jobId": job_id})
    else:
        raise UsageError("of what? Give a JOB_ID, --thing THING, or both")
    operation, members = query
    async with session.connect() as connection:
        pages = connection.pages(operation, "executionSummaries", limit, status=status_, **members)
        found = [each async for each in pages]
        if session.output.as_json:
            session.output.document({"executionSummaries": found})
            return
        now = await connection.now()
    rows = [_row(each, job_id, thing, now) for each in found]
    columns = ("JOB", "THING", "ATTEMPT", "STATUS", "QUEUED", "UPDATED")
    session.output.table(columns, rows, empty="no executions")


@client_command(
    app,
    "timeline",
    "thingjobs execution timeline gateway-7 update-2026-11",
    "thingjobs execution timeline gateway-7 update-2026-11 --number 1 --json",
)
async def timeline(session: Session, thing: ThingName, job_id: JobId, number: Number = None) -> None:
    """Tell who did what when: states, step timers, changed timeouts with their old and new value."""
    async with session.connect() as connection:
        reply = await connection.call(
            "DescribeTimeline", thingName=thing, jobId=job_id, executionNumber=number
        )
        if session.output.as_json:
            session.output.document(reply)
        else:
            show_timeline(session.output, reply["timeline"], await connection.now())


@client_command(
    app,
    "extend",
    "thingjobs execution extend gateway-7 update-2026-11 --timeout 2h",
    "thingjobs execution extend gateway-7 update-2026-11 --timeout 45",
)
async def extend(
    session: Session,
    thing: ThingName,
    job_id: JobId,
    timeout_: Annotated[
        str,
        typer.Option(
            "--timeout", metavar="SPAN", help="The whole time from its start: minutes, or such as 2h."
        ),
    ],
) -> None:
    """Change how long a running execution may take, counted from its start: more, or less.

    With a timeout from the start, it may end up at most 60 minutes above that.
    """
    wanted = grammar.minutes("--timeout", timeout_)
    async with session.connect() as connection:
        reply = await connection.call(
            "UpdateJobExecutionTimeout", thingName=thing, jobId=job_id, timeoutInMinutes=wanted
        )
    before = reply.get("previousTimeoutInMinutes")
    was = f"{before} minutes" if before else "none"
    session.output.done(
        reply, f"timeout of {printable(thing)}: {reply['timeoutInMinutes']} minutes, was {was}"
    )


@client_command(
    app,
    "delete",
    "thingjobs execution delete gateway-7 update-2026-11",
    "thingjobs execution delete gateway-7 update-2026-11 --number 1 --force",
)
async def delete(
    session: Session, thing: ThingName, job_id: JobId, number: Number = None, force: Force = False
) -> None:
    """Delete the record of an execution, the newest without --number; the job's counters shrink."""
    async with session.connect() as connection:
        if number is None:
            newest = await connection.call("DescribeJobExecution", thingName=thing, jobId=job_id)
            number = newest["execution"]["executionNumber"]
        reply = await connection.call(
            "DeleteJobExecution",
            thingName=thing,
            jobId=job_id,
            executionNumber=number,
            force=force or None,
        )
    session.output.done(reply, f"attempt {number} of {printable(job_id)} on {printable(thing)} is deleted")


def _row(
    summary: dict[str, Any], job_id: str | None, thing: str | None, now: float
) -> tuple[str | Text, ...]:
    shown = summary["jobExecutionSummary"]
    return (
        printable(summary.get("jobId") or job_id or ""),
        thing_name(summary["thingArn"]) if "thingArn" in summary else printable(thing or ""),
        str(shown["executionNumber"]),
        status(shown["status"]),
        moment(shown["queuedAt"], now),
        moment(shown["lastUpdatedAt"], now),
    )


def show_timeline(output: Output, timeline: list[dict[str, Any]], now: float) -> None:
    """Write a timeline as columns: when, what, by whom and with which values."""
    output.columns((clock_time(entry["at"]), status(entry["event"]), _told(entry, now)) for entry in timeline)


def show_execution(
    output: Output, execution: dict[str, Any], timeline: list[dict[str, Any]], now: float
) -> None:
    """Write an execution as text: heading, timeline, what the device said."""
    left = execution.get("approximateSecondsBeforeTimedOut")
    output.line(
        thing_name(execution["thingArn"]),
        f"  attempt {execution['executionNumber']}  ",
        status(execution["status"]),
        f"  version {execution['versionNumber']}",
        "" if left is None else f"  times out in {left} s",
    )
    show_timeline(output, timeline, now)
    details = execution["statusDetails"]["detailsMap"]
    output.pairs({printable(key): printable(value) for key, value in sorted(details.items())})


def _told(entry: dict[str, Any], now: float) -> str:
    parts = [f"by {printable(str(entry['by']))}" if entry.get("by") else ""]
    if "previous" in entry or "new" in entry:
        before, after = (moment(entry.get(name), now) or "none" for name in ("previous", "new"))
        parts.append(f"{before} -> {after}")
    parts.append(printable(str(entry.get("cause", ""))))
    return "  ".join(part for part in parts if part)
