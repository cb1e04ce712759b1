"""`thingjobs execution`: one job on one thing, its details and its timeline."""

from typing import Annotated, Any

import typer

from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.options import Force, JobId, ThingName
from thingjobs_broker.cli.output import Output, clock_time, moment, printable, status, thing_name

app = typer.Typer(no_args_is_help=True, help="Look at one job on one thing, or cancel it there.")

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
        show_execution(session.output, execution, timeline)


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
    if session.output.as_json:
        session.output.document(reply)
    else:
        session.output.line(f"job {printable(job_id)} is canceled on {printable(thing)}")


def show_execution(output: Output, execution: dict[str, Any], timeline: list[dict[str, Any]]) -> None:
    """Write an execution as text: heading, timeline, what the device said."""
    left = execution.get("approximateSecondsBeforeTimedOut")
    output.line(
        thing_name(execution["thingArn"]),
        f"  attempt {execution['executionNumber']}  ",
        status(execution["status"]),
        f"  version {execution['versionNumber']}",
        "" if left is None else f"  times out in {left} s",
    )
    output.columns((clock_time(entry["at"]), status(entry["event"]), _told(entry)) for entry in timeline)
    details = execution["statusDetails"]["detailsMap"]
    output.pairs({printable(key): printable(value) for key, value in sorted(details.items())})


def _told(entry: dict[str, Any]) -> str:
    parts = [f"by {printable(str(entry['by']))}" if entry.get("by") else ""]
    if "previous" in entry or "new" in entry:
        parts.append(f"{moment(entry.get('previous')) or 'none'} -> {moment(entry.get('new')) or 'none'}")
    parts.append(printable(str(entry.get("cause", ""))))
    return "  ".join(part for part in parts if part)
