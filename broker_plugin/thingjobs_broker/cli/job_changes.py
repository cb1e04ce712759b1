"""`thingjobs job`: cancel, delete, update and retry jobs, and show their documents."""

from typing import Annotated, Any

import typer

from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.exit_codes import ExitCode
from thingjobs_broker.cli.job_options import CHANGEABLE, Given, configurations
from thingjobs_broker.cli.job_retry import RetryOnly, retried
from thingjobs_broker.cli.jobs import followed
from thingjobs_broker.cli.options import Force, JobId
from thingjobs_broker.cli.output import printable, write

app = typer.Typer()
"""Becomes a part of `thingjobs job`."""


@client_command(
    app,
    "cancel",
    "thingjobs job cancel update-2026-11",
    'thingjobs job cancel update-2026-11 --force --reason-code BAD_RELEASE --comment "wrong checksum"',
)
async def cancel(
    session: Session,
    job_id: JobId,
    force: Force = False,
    comment: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, in words.")] = None,
    reason_code: Annotated[str | None, typer.Option(metavar="CODE", help="Why, as A-Z 0-9 _.")] = None,
) -> None:
    """Cancel a job: what is queued is canceled, what a device is working on only with --force."""
    async with session.connect() as connection:
        reply = await connection.call(
            "CancelJob", jobId=job_id, force=force or None, comment=comment, reasonCode=reason_code
        )
    session.output.done(reply, f"job {printable(reply['jobId'])} is canceled")


@client_command(
    app, "delete", "thingjobs job delete update-2026-11", "thingjobs job delete update-2026-11 --force"
)
async def delete(
    session: Session,
    job_id: JobId,
    force: Annotated[bool, typer.Option("--force", help="Also if it has not ended; it is canceled.")] = False,
) -> None:
    """Delete a job with its executions and their history; its id can then be used again."""
    async with session.connect() as connection:
        reply = await connection.call("DeleteJob", jobId=job_id, force=force or None)
    session.output.done(reply, f"job {printable(job_id)} is being deleted")


@client_command(
    app,
    "document",
    "thingjobs job document update-2026-11",
    "thingjobs job document update-2026-11 --authored > job.json",
)
async def document(
    session: Session,
    job_id: JobId,
    authored: Annotated[
        bool, typer.Option("--authored", help="As it was before parameters were put in.")
    ] = False,
) -> None:
    """Write a job's document byte for byte, for a file; with --json as a member of the answer."""
    async with session.connect() as connection:
        reply = await connection.call("GetJobDocument", jobId=job_id, beforeSubstitution=authored or None)
    if session.output.as_json:
        session.output.document(reply)
    else:
        write(reply["document"] + ("" if reply["document"].endswith("\n") else "\n"))


@client_command(
    app,
    "update",
    "thingjobs job update update-2026-11 --rate 200/min",
    'thingjobs job update update-2026-11 --abort "FAILED>5% after 50" --timeout 45m',
    "thingjobs job update update-2026-11 --retry FAILED=0",
    options=CHANGEABLE,
)
async def update(
    session: Session,
    job_id: JobId,
    *,
    given: Given,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What the job is for.")] = None,
) -> None:
    """Change a job that has not ended: each setting that is given replaces the old one whole.

    A new timeout is for executions that have not started; retries can only be ended, with N=0.
    """
    changes: dict[str, Any] = configurations(given)
    if description is not None:
        changes["description"] = description
    if not changes:
        raise UsageError("nothing to change; see thingjobs job update --help")
    async with session.connect() as connection:
        reply = await connection.call("UpdateJob", jobId=job_id, **changes)
    session.output.done(reply, f"job {printable(job_id)} is updated")


@client_command(
    app,
    "retry",
    "thingjobs job retry update-2026-11",
    "thingjobs job retry update-2026-11 --only timed-out --id update-2026-11-again --watch",
)
async def retry(
    session: Session,
    job_id: JobId,
    only: Annotated[
        list[RetryOnly] | None,
        typer.Option(
            case_sensitive=False,
            help="Things whose last execution ended so; may be repeated. \\[default: failed, timed-out]",
        ),
    ] = None,
    new_id: Annotated[
        str | None,
        typer.Option("--id", metavar="JOB_ID", help="The new job's id. \\[default: JOB_ID-retry-N]"),
    ] = None,
    then_watch: Annotated[
        bool, typer.Option("--watch", help="Then follow it as job watch does, with its exit code.")
    ] = False,
) -> ExitCode | None:
    """Create a job like this one for the things on which it did not succeed.

    What has ended stays ended: the old job keeps its record. The new one has the same document and settings,
    but for the schedule, and is for those things alone.
    """
    async with session.connect() as connection:
        wanted = only or [RetryOnly.FAILED, RetryOnly.TIMED_OUT]
        reply, count = await retried(connection, job_id, wanted, new_id, session.output)
    if session.output.as_json:
        (session.output.json_line if then_watch else session.output.document)(reply)
    else:
        session.output.line(f"job {printable(reply['jobId'])} created for {count} thing{'s' * (count > 1)}")
    return await followed(session, reply["jobId"]) if then_watch else None
