"""`thingjobs why`: what a thing waits for, job by job; the service gives the reasons."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.options import ThingName, completed_job
from thingjobs_broker.cli.output import Output, moment, printable, status


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    client_command(
        app,
        "why",
        "thingjobs why gateway-7",
        "thingjobs why gateway-7 update-2026-11",
        "thingjobs why gateway-7 update-2026-11 --json",
    )(why)


async def why(
    session: Session,
    thing: ThingName,
    job_id: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB_ID", help="One job; without it, all that waits.", autocompletion=completed_job
        ),
    ] = None,
) -> None:
    """Tell why a job does not run on a thing: offline, behind another job, rollout not there yet, ..."""
    async with session.connect() as connection:
        reply = await connection.call("ExplainExecution", thingName=thing, jobId=job_id)
        if session.output.as_json:
            session.output.document(reply)
            return
        now = await connection.now()
    session.output.line(printable(thing), "  ", connection_of(reply["thing"], now))
    for each in reply["explanations"]:
        _show(session.output, each, now)
    if not reply["explanations"]:
        session.output.line("  no job waits for it, and none runs on it")
    if reply.get("more"):
        session.output.line(f"  and {reply['more']} more jobs")


def _show(output: Output, explained: Mapping[str, Any], now: float) -> None:
    state = explained.get("executionStatus") or explained["jobStatus"]
    times = [
        f"{word} {moment(explained[name], now)}"
        for name, word in (("since", "since"), ("until", "until"))
        if name in explained
    ]
    text = ", ".join([printable(explained["explanation"]), *times])
    output.line(f"  {printable(explained['jobId'])} ", status(state), f": {text}")


def connection_of(thing: Mapping[str, Any], now: float) -> str:
    """Return what is known of a thing's connection, for people."""
    seen = moment(thing.get("lastSeenAt"), now)
    asked = f"last request {seen}" if seen else "no request since the service started"
    if thing.get("connected") is None:
        return asked
    if thing["connected"]:
        since = thing.get("connectedSince")
        heard = "" if thing.get("subscribed") else ", subscribed to no notification"
        return "connected" + (f" since {moment(since, now)}" if since else "") + heard
    since = thing.get("offlineSince")
    return "not connected" + (f" since {moment(since, now)}" if since else "; " + asked)
