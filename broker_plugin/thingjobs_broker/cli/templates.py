"""`thingjobs template`: job templates, one's own and the managed ones."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from thingjobs_broker.cli import grammar, job_options
from thingjobs_broker.cli.command import Session, client_command
from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.job_options import TEMPLATE_OPTIONS, Given
from thingjobs_broker.cli.job_request import described_template
from thingjobs_broker.cli.job_settings import settings_of
from thingjobs_broker.cli.options import Limit, completed_job, completed_template
from thingjobs_broker.cli.output import Output, moment, printable, write

app = typer.Typer(no_args_is_help=True, help="Keep documents and settings for later jobs.")

TemplateName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The template's id, or a managed one's name.", autocompletion=completed_template
    ),
]


@client_command(
    app,
    "create",
    'thingjobs template create update --description "Update the agent" --document job.json --retry FAILED=2',
    'thingjobs template create nightly --description "As last time" --from-job update-2026-11',
    options=TEMPLATE_OPTIONS,
)
async def create(
    session: Session,
    template_id: Annotated[str, typer.Argument(metavar="NAME", help="1 to 64 characters of a-z A-Z 0-9 _ -")],
    description: Annotated[str, typer.Option(metavar="TEXT", help="What jobs of it do.")],
    *,
    given: Given,
    from_job: Annotated[
        str | None,
        typer.Option(
            metavar="JOB_ID",
            help="Take document and settings from a job; what is given wins.",
            autocompletion=completed_job,
        ),
    ] = None,
) -> None:
    """Make a template. It never changes: to change it, delete it and make it again."""
    if from_job is None and given["document"] is None:
        raise UsageError("a template needs --document FILE, or --from-job JOB_ID")
    found = {parameter.name: None for parameter in job_options.JOB_OPTIONS} | given
    windows = grammar.windows(given["window"] or (), given["duration"] or ())
    members = job_options.members(found | {"window": None, "duration": None})
    async with session.connect() as connection:
        if from_job is not None:
            members["jobArn"] = (await connection.call("DescribeJob", jobId=from_job))["job"]["jobArn"]
        reply = await connection.call(
            "CreateJobTemplate",
            jobTemplateId=template_id,
            maintenanceWindows=windows or None,
            **members | {"description": description},
        )
    session.output.done(reply, f"template {printable(reply['jobTemplateId'])} is kept")


@client_command(app, "list", "thingjobs template list", "thingjobs template list --json")
async def list_templates(session: Session, limit: Limit = None) -> None:
    """List one's own templates, then the managed ones."""
    async with session.connect() as connection:
        own = [each async for each in connection.pages("ListJobTemplates", "jobTemplates", limit)]
        managed = [
            each async for each in connection.pages("ListManagedJobTemplates", "managedJobTemplates", limit)
        ]
        if session.output.as_json:
            session.output.document({"jobTemplates": own, "managedJobTemplates": managed})
            return
        now = await connection.now()
    rows = [
        (printable(each["jobTemplateId"]), printable(each["description"]), moment(each["createdAt"], now))
        for each in own
    ]
    rows += [
        (
            printable(each["templateName"]),
            printable(each["description"]),
            f"managed {each['templateVersion']}",
        )
        for each in managed
    ]
    session.output.table(("TEMPLATE", "DESCRIPTION", "CREATED"), rows, empty="no templates")


@client_command(
    app,
    "show",
    "thingjobs template show update",
    "thingjobs template show AWS-Download-File",
    "thingjobs template show update --json",
)
async def show(session: Session, name: TemplateName) -> None:
    """Show a template: settings, parameters and document."""
    async with session.connect() as connection:
        template = await described_template(connection, name)
        if session.output.as_json:
            session.output.document(template)
        else:
            _show(session.output, template, await connection.now())


@client_command(app, "delete", "thingjobs template delete update")
async def delete(session: Session, name: TemplateName) -> None:
    """Delete a template; jobs that were made of it stay as they are."""
    async with session.connect() as connection:
        reply = await connection.call("DeleteJobTemplate", jobTemplateId=name)
    session.output.done(reply, f"template {printable(name)} is deleted")


def _show(output: Output, template: Mapping[str, Any], now: float) -> None:
    output.line(printable(template.get("jobTemplateId") or template["templateName"]))
    # A managed one lists the parameters that a job may give.
    settings = {name: value for name, value in template.items() if name != "documentParameters"}
    tested = ", ".join(map(printable, template.get("environments", ())))
    output.pairs(
        {
            "description": printable(template["description"]),
            "version": printable(template.get("templateVersion", "")),
            "environments": tested,
            **settings_of(settings),
            "created": moment(template.get("createdAt"), now),
            "ARN": printable(template.get("jobTemplateArn") or template.get("templateArn", "")),
        }
    )
    for parameter in template.get("documentParameters", ()):
        must = "optional" if parameter.get("optional") else "required"
        example = f", such as {parameter['example']}" if parameter.get("example") else ""
        output.line(
            printable(f"  --param {parameter['key']}=...  {must}: {parameter['description']}{example}")
        )
    output.line("  document:")
    write(template["document"].rstrip("\n") + "\n")
