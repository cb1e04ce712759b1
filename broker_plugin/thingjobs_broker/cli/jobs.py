"""`thingjobs job`: create, list, show, watch and cancel jobs."""

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from thingjobs_broker.cli import watch as watching
from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.connection import Connection
from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.executions import show_execution
from thingjobs_broker.cli.exit_codes import ExitCode
from thingjobs_broker.cli.files import read_document
from thingjobs_broker.cli.options import Force, JobId, Limit
from thingjobs_broker.cli.output import Output, counters, moment, printable, status, thing_name
from thingjobs_protocol.status import JobStatus

app = typer.Typer(no_args_is_help=True, help="Create jobs, watch them run, cancel them.")

EXECUTIONS_SHOWN = 20
"""`job show` asks for each execution and its timeline; a job may have a hundred thousand."""


@client_command(
    app,
    "create",
    "thingjobs job create --target gateway-7 --document job.json",
    "thingjobs job create --target gateway-7 --target gateway-8 --document job.json --retry FAILED=2",
    "cat job.json | thingjobs job create --target gateway-7 --document - --id update-2026-11 --json",
)
async def create(
    session: Session,
    *,
    target: Annotated[
        list[str], typer.Option(metavar="THING", help="Name or ARN of a thing; may be repeated.")
    ],
    document: Annotated[
        str,
        typer.Option(metavar="FILE", help="The job document, a JSON object; - reads it from standard input."),
    ],
    timeout_minutes: Annotated[
        int | None, typer.Option(metavar="N", help="How long a device may work on it, 1 to 10080.")
    ] = None,
    job_id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="JOB_ID", help="1 to 64 characters of a-z A-Z 0-9 _ -; made up when left out."
        ),
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What the job is for.")] = None,
    retry: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE=N", help="Retries after FAILED, TIMED_OUT or ALL; may be repeated."),
    ] = None,
) -> None:
    """Create a job: each target gets an execution of the document."""
    text = read_document(document)
    criteria = [_retry(given) for given in retry or []]
    async with session.connect() as connection:
        reply = await connection.call(
            "CreateJob",
            jobId=_new_job_id() if job_id is None else job_id,
            targets=target,
            document=text,
            description=description,
            timeoutConfig=None
            if timeout_minutes is None
            else {"inProgressTimeoutInMinutes": timeout_minutes},
            jobExecutionsRetryConfig={"criteriaList": criteria} if criteria else None,
        )
    if session.output.as_json:
        session.output.document(reply)
    else:
        count = len(set(target))
        session.output.line(
            f"job {printable(reply['jobId'])} created for {count} thing{'s' if count > 1 else ''}"
        )


@client_command(
    app,
    "list",
    "thingjobs job list",
    "thingjobs job list --status IN_PROGRESS",
    "thingjobs job list --json --limit 10",
)
async def list_jobs(
    session: Session,
    status_: Annotated[
        JobStatus | None, typer.Option("--status", case_sensitive=False, help="Only jobs in this state.")
    ] = None,
    limit: Limit = None,
) -> None:
    """List jobs in the order in which they were created."""
    async with session.connect() as connection:
        jobs = [job async for job in connection.pages("ListJobs", "jobs", limit, status=status_)]
    if session.output.as_json:
        session.output.document({"jobs": jobs})
        return
    rows = [
        (
            printable(job["jobId"]),
            status(job["status"]),
            moment(job["createdAt"]),
            moment(job.get("completedAt")),
        )
        for job in jobs
    ]
    session.output.table(("JOB", "STATUS", "CREATED", "COMPLETED"), rows, empty="no jobs")


@client_command(app, "show", "thingjobs job show update-2026-11", "thingjobs job show update-2026-11 --json")
async def show(
    session: Session,
    job_id: JobId,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Show so many executions.")
    ] = EXECUTIONS_SHOWN,
) -> None:
    """Show a job, its counters, and each execution with its timeline."""
    async with session.connect() as connection:
        job = (await connection.call("DescribeJob", jobId=job_id))["job"]
        timeline = (await connection.call("DescribeTimeline", jobId=job_id))["timeline"]
        pages = connection.pages("ListJobExecutionsForJob", "executionSummaries", limit, jobId=job_id)
        executions = [await _execution(connection, job_id, summary) async for summary in pages]
    if session.output.as_json:
        session.output.document({"job": job, "timeline": timeline, "executions": executions})
        return
    _show_job(session.output, job)
    for execution in executions:
        session.output.line()
        show_execution(session.output, execution, execution["timeline"])
    total = sum(job.get("jobProcessDetails", {}).values())
    if total > len(executions):
        session.output.line(f"\n{total - len(executions)} more; see them with --limit {total}")


@client_command(
    app,
    "watch",
    "thingjobs job watch update-2026-11",
    "thingjobs job watch update-2026-11 --json | jq -c .job.status",
)
async def watch(
    session: Session,
    job_id: JobId,
    interval_seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="How often to ask, besides at each event.")
    ] = 0.5,
) -> ExitCode:
    """Follow a job until it ends. Exits with 0 when every thing succeeded, with 1 otherwise."""
    return await watching.watch(session, job_id, interval_seconds)


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
    if session.output.as_json:
        session.output.document(reply)
    else:
        session.output.line(f"job {printable(reply['jobId'])} is canceled")


def _new_job_id() -> str:
    return f"job-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _retry(given: str) -> dict[str, Any]:
    kind, _, count = given.partition("=")
    if kind.upper() not in ("FAILED", "TIMED_OUT", "ALL") or not (count.isascii() and count.isdigit()):
        raise UsageError(f"--retry must be FAILED=N, TIMED_OUT=N or ALL=N, not {given!r}")
    return {"failureType": kind.upper(), "numberOfRetries": int(count[:9])}


async def _execution(connection: Connection, job_id: str, summary: dict[str, Any]) -> dict[str, Any]:
    key = {
        "jobId": job_id,
        "thingName": summary["thingArn"].rpartition("/")[2],
        "executionNumber": summary["jobExecutionSummary"]["executionNumber"],
    }
    described, told = await asyncio.gather(
        connection.call("DescribeJobExecution", **key), connection.call("DescribeTimeline", **key)
    )
    return {**described["execution"], **told}


def _show_job(output: Output, job: dict[str, Any]) -> None:
    minutes = job.get("timeoutConfig", {}).get("inProgressTimeoutInMinutes")
    retries = job.get("jobExecutionsRetryConfig", {}).get("criteriaList", [])
    output.line(printable(job["jobId"]), "  ", status(job["status"]))
    output.pairs(
        {
            "description": printable(job.get("description", "")),
            "targets": ", ".join(thing_name(target) for target in job["targets"]),
            "created": moment(job["createdAt"]),
            "completed": moment(job.get("completedAt")),
            "timeout": f"{minutes} min" if minutes else "",
            "retries": ", ".join(f"{each['failureType']}={each['numberOfRetries']}" for each in retries),
            "reason code": printable(job.get("reasonCode", "")),
            "comment": printable(job.get("comment", "")),
            "executions": counters(job),
        }
    )
