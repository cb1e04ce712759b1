"""`thingjobs job`: create, preview, list, show and watch jobs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.errors import RefusedError
from thingjobs_broker.cli.executions import show_execution
from thingjobs_broker.cli.exit_codes import ExitCode
from thingjobs_broker.cli.helper_groups import PREFIX
from thingjobs_broker.cli.job_options import JOB_OPTIONS, Given
from thingjobs_broker.cli.job_request import completed, drafted, for_preview, nothing_found, with_fix
from thingjobs_broker.cli.job_settings import settings_of
from thingjobs_broker.cli.options import JobId, Limit, completed_group
from thingjobs_broker.cli.output import (
    Output,
    counters,
    execution_count,
    moment,
    printable,
    status,
    thing_name,
)
from thingjobs_broker.cli.preview_display import show_preview
from thingjobs_broker.cli.previewed import previewed
from thingjobs_protocol.status import JobStatus

if TYPE_CHECKING:
    from thingjobs_broker.cli.connection import Connection

app = typer.Typer(no_args_is_help=True, help="Create jobs, watch them run, change and cancel them.")

NAMES_SHOWN = 5
OPENINGS_SHOWN = 3
WATCH_SECONDS = 0.5
EXECUTIONS_SHOWN = 20
"""`job show` asks for each execution and its timeline; a job may have a hundred thousand."""


@client_command(
    app,
    "create",
    "thingjobs job create --target gateway-7 --document job.json",
    'thingjobs job create --group berlin --document job.json --rate 50/min --abort "FAILED>20% after 100"',
    'thingjobs job create --query "attributes.site:berlin" --template AWS-Reboot --retry FAILED=2 --watch',
    'thingjobs job create --group all --document - --continuous --window "cron(0 2 * * ? *)" --duration 2h',
    "cat job.json | thingjobs job create --target gateway-7 --document - --id update-2026-11 --json",
    options=JOB_OPTIONS,
)
async def create(
    session: Session,
    *,
    given: Given,
    job_id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="JOB_ID", help="1 to 64 characters of a-z A-Z 0-9 _ -; made up when left out."
        ),
    ] = None,
    then_watch: Annotated[
        bool, typer.Option("--watch", help="Then follow it as job watch does, with its exit code.")
    ] = False,
) -> ExitCode | None:
    """Create a job: each thing that it is for gets an execution of the document."""
    draft = drafted(given, job_id)
    async with (
        session.connect() as connection,
        completed(connection, draft, given, session.output) as request,
    ):
        reply = await connection.request("CreateJob", request)
    if session.output.as_json:
        # The lines of a watch follow it, each a document of its own.
        (session.output.json_line if then_watch else session.output.document)(reply)
    else:
        names = ", ".join(thing_name(target) for target in request["targets"][:NAMES_SHOWN])
        more = len(request["targets"]) - NAMES_SHOWN
        names += f" and {more} more" if more > 0 else ""
        if request["targets"][0].rpartition("/")[2] == PREFIX + reply["jobId"]:
            names = "all things that the query finds"
        session.output.line(f"job {printable(reply['jobId'])} created for {names}")
    return await followed(session, reply["jobId"]) if then_watch else None


@client_command(
    app,
    "preview",
    "thingjobs job preview --group berlin --document job.json --rate 50/min",
    'thingjobs job preview --query "attributes.site:berlin" --template AWS-Reboot --json',
    options=JOB_OPTIONS,
)
async def preview(
    session: Session,
    *,
    given: Given,
    limit: Annotated[int, typer.Option(min=1, max=250, metavar="N", help="Name so many things.")] = 10,
) -> None:
    """Tell what job create with the same options would do: for whom, for whom not and why, for how long.

    Nothing is created or changed, and what would be refused is refused here too.
    """
    draft = drafted(given, None)
    async with session.connect() as connection:
        request = await for_preview(connection, draft, given)
        try:
            reply = await previewed(connection, request, limit)
        except RefusedError as error:
            raise (with_fix(error) if given["query"] else error) from None
        if given["query"] and not reply["targeted"]["count"]:
            raise nothing_found(given["query"])
        if session.output.as_json:
            session.output.document(reply)
        else:
            show_preview(session.output, reply, await connection.now())


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
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only jobs for this group.", autocompletion=completed_group),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only jobs of this namespace.")
    ] = None,
    limit: Limit = None,
) -> None:
    """List jobs in the order in which they were created."""
    filters = {"status": status_, "thingGroupName": group, "namespaceId": namespace}
    async with session.connect() as connection:
        jobs = [job async for job in connection.pages("ListJobs", "jobs", limit, **filters)]
        if session.output.as_json:
            session.output.document({"jobs": jobs})
            return
        now = await connection.now()
    rows = [
        (
            printable(job["jobId"]),
            status(job["status"]),
            moment(job["createdAt"], now),
            moment(job.get("completedAt"), now),
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
        now = await connection.now()
    _show_job(session.output, job, now)
    for execution in executions:
        session.output.line()
        show_execution(session.output, execution, execution["timeline"], now)
    total = execution_count(job)
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
    ] = WATCH_SECONDS,
) -> ExitCode:
    """Follow a job until it ends. Exits with 0 when every thing succeeded, with 1 otherwise."""
    return await followed(session, job_id, interval_seconds)


async def followed(session: Session, job_id: str, interval_seconds: float = WATCH_SECONDS) -> ExitCode:
    """Follow a job until it ends; return what a watch exits with."""
    from thingjobs_broker.cli.watch import watch as follow

    return await follow(session, job_id, interval_seconds)


async def _execution(connection: "Connection", job_id: str, summary: dict[str, Any]) -> dict[str, Any]:
    key = {
        "jobId": job_id,
        "thingName": summary["thingArn"].rpartition("/")[2],
        "executionNumber": summary["jobExecutionSummary"]["executionNumber"],
    }
    import asyncio

    described, told = await asyncio.gather(
        connection.call("DescribeJobExecution", **key), connection.call("DescribeTimeline", **key)
    )
    return {**described["execution"], **told}


def _show_job(output: Output, job: dict[str, Any], now: float) -> None:
    openings = job.get("scheduledJobRollouts", ())
    kind = "  continuous" if job["targetSelection"] == "CONTINUOUS" else ""
    output.line(printable(job["jobId"]), "  ", status(job["status"]), kind)
    output.pairs(
        {
            "description": printable(job.get("description", "")),
            "targets": ", ".join(thing_name(target) for target in job["targets"]),
            "created": moment(job["createdAt"], now),
            "completed": moment(job.get("completedAt"), now),
            **settings_of(job),
            "next openings": ", ".join(printable(each["startTime"]) for each in openings[:OPENINGS_SHOWN]),
            "reason code": printable(job.get("reasonCode", "")),
            "comment": printable(job.get("comment", "")),
            "executions": counters(job),
        }
    )
