"""`thingjobs events`: job and execution events as they come, through restarts of the broker."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import typer

from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.errors import UnreachableError, UsageError
from thingjobs_broker.cli.options import completed_job, completed_thing
from thingjobs_broker.cli.output import Output, clock_time, complain, printable, status, thing_name
from thingjobs_protocol.topics import job_event_topic, job_execution_event_topic

RECONNECT_SECONDS_MIN = 0.5
RECONNECT_SECONDS_MAX = 10.0


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    client_command(
        app,
        "events",
        "thingjobs events --follow",
        "thingjobs events --job update-2026-11 --count 10",
        "thingjobs events --thing gateway-7 --follow --json | jq -c .status",
    )(events)


async def events(
    session: Session,
    job: Annotated[
        str | None,
        typer.Option(metavar="JOB_ID", help="Only of this job.", autocompletion=completed_job),
    ] = None,
    thing: Annotated[
        str | None,
        typer.Option(metavar="THING", help="Only executions on this thing.", autocompletion=completed_thing),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Until Ctrl-C; without it until one came.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after so many.")] = None,
) -> None:
    """Show what happens to jobs and executions as it happens; with --json a line for each event.

    What happened before is in job show and execution timeline. While the connection is lost events are too.
    """
    if job is not None and not job.replace("_", "").replace("-", "").isalnum():
        raise UsageError(f"--job must be a job's id, not {job!r}")
    left = count if count is not None else None if follow else 1
    async for event in _events(session, job):
        if thing is not None and thing_name(event.get("thingArn", "")) != thing:
            continue
        show_event(session.output, event)
        left = None if left is None else left - 1
        if left == 0:
            return


async def _events(session: Session, job: str | None) -> AsyncIterator[Mapping[str, Any]]:
    """Yield events for ever. The first connection must succeed."""
    import asyncio

    import aiomqtt

    from thingjobs_broker.cli.connection import Connection, logged_in

    delay_seconds, connected_before, complaint = RECONNECT_SECONDS_MIN, False, ""
    root = session.address.topic_root
    while True:
        try:
            async with logged_in(session.address, "thingjobs-events") as client:
                await Connection(client, session.address).subscribe(
                    job_event_topic(job or "+", "+", root), job_execution_event_topic(job or "+", "+", root)
                )
                if complaint:
                    complain("connected again")
                connected_before, delay_seconds, complaint = True, RECONNECT_SECONDS_MIN, ""
                async for message in client.messages:
                    yield _read(message.payload)
        except (UnreachableError, aiomqtt.MqttError) as error:
            if not connected_before:
                raise
            if complaint != str(error):
                complaint = str(error)
                complain(f"{complaint}; trying again, what happens meanwhile is missed")
        await asyncio.sleep(delay_seconds)
        delay_seconds = min(2 * delay_seconds, RECONNECT_SECONDS_MAX)


def _read(payload: object) -> dict[str, Any]:
    """Return an event; the service alone may publish there, so that it is JSON."""
    event: dict[str, Any] = json.loads(payload if isinstance(payload, bytes) else b"{}")
    return event


def show_event(output: Output, event: Mapping[str, Any]) -> None:
    """Write an event as a line."""
    if output.as_json:
        output.json_line(event)
        return
    about = printable(str(event.get("jobId", "")))
    if event.get("thingArn"):
        about += f" on {thing_name(event['thingArn'])}"
    details = event.get("statusDetails") or {}
    said = ", ".join(f"{key}={value}" for key, value in sorted(details.items())) or event.get("comment", "")
    output.line(
        f"{clock_time(event['timestamp'])}  {about}  ",
        status(event["status"]),
        f"  {printable(said)}".rstrip(),
    )
