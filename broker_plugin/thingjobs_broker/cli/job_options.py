"""The options that describe a job: declared once, for every command that takes them, and what they ask for.

`members` turns them into members of a request without asking anybody.
"""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from thingjobs_broker.cli import grammar
from thingjobs_broker.cli.errors import UsageError
from thingjobs_broker.cli.files import read_document
from thingjobs_broker.cli.options import completed_group, completed_target, completed_template

Given = dict[str, Any]
"""Options by the names of their parameters, as typer found them."""


class EndBehavior(StrEnum):
    """What happens at the end; in the words of a command line."""

    STOP_ROLLOUT = "stop-rollout"
    CANCEL = "cancel"
    FORCE_CANCEL = "force-cancel"


def members(given: Given, *, now: datetime | None = None) -> dict[str, Any]:
    """Return the members of a request that the options ask for, without targets and template.

    Raises:
        UsageError, LocalFileError: an option or the document has not the form it must have.

    """
    scheduling = schedule(given, now or datetime.now(UTC))
    found = {
        **_document(given["document"]),
        "description": given["description"],
        "documentParameters": grammar.pairs("--param", given["param"]) or None,
        "tags": grammar.tags(given["tag"]) or None,
        "targetSelection": "CONTINUOUS" if given["continuous"] else None,
        "namespaceId": given["namespace"],
        "presignedUrlConfig": _presigned(given),
        "schedulingConfig": scheduling or None,
        **configurations(given),
    }
    return {name: value for name, value in found.items() if value is not None}


def configurations(given: Given) -> dict[str, Any]:
    """Return the configurations that also an update takes."""
    found = {
        "jobExecutionsRolloutConfig": _rollout(given["rate"], given["exponential"]),
        "abortConfig": _criteria([grammar.abort(each) for each in given["abort"] or ()]),
        "jobExecutionsRetryConfig": _criteria([grammar.retry(each) for each in given["retry"] or ()]),
        "timeoutConfig": _timeout(given["timeout"]),
    }
    return {name: value for name, value in found.items() if value is not None}


def _document(given: str | None) -> dict[str, str]:
    if given is None:
        return {}
    return {"documentSource": given} if grammar.is_url(given) else {"document": read_document(given)}


def _rollout(rate: str | None, exponential: str | None) -> dict[str, Any] | None:
    """Without a maximum it is the service's own, also in place of a template's."""
    if rate is None and exponential is None:
        return None
    per_minute = grammar.rate(rate) if rate is not None else None
    found: dict[str, Any] = {} if per_minute is None else {"maximumPerMinute": per_minute}
    return found | ({"exponentialRate": grammar.exponential(exponential)} if exponential is not None else {})


def _criteria(criteria: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {"criteriaList": criteria} if criteria else None


def _timeout(given: str | None) -> dict[str, int] | None:
    return None if given is None else {"inProgressTimeoutInMinutes": grammar.minutes("--timeout", given)}


def _presigned(given: Given) -> dict[str, Any] | None:
    found = {"roleArn": given["presign_role"], "expiresInSec": given["presign_seconds"]}
    return {name: value for name, value in found.items() if value is not None} or None


def schedule(given: Given, now: datetime) -> dict[str, Any]:
    """Return the schedulingConfig, where a lead counts from `now`. Raises as `members`."""
    windows = grammar.windows(given["window"] or (), given["duration"] or ())
    if windows and not given["continuous"]:
        raise UsageError("--window needs --continuous: a job that is done once knows no windows")
    end_behavior = given["end_behavior"]
    if end_behavior is not None and given["end"] is None:
        raise UsageError("--end-behavior needs --end")
    found = {
        "startTime": grammar.moment("--start", given["start"], now) if given["start"] else None,
        "endTime": grammar.moment("--end", given["end"], now) if given["end"] else None,
        "endBehavior": end_behavior.name if end_behavior is not None else None,
        "maintenanceWindows": windows or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _targets(
    *,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name or ARN of a thing or group; may be repeated.",
            autocompletion=completed_target,
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A thing group and all below it; may be repeated.",
            autocompletion=completed_group,
        ),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="QUERY", help='Things by a query, such as "attributes.site:berlin AND NOT thingName:x*".'
        ),
    ] = None,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Also for things that join the groups later.")
    ] = False,
    namespace: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Offered on the topics of this namespace only: a-z A-Z 0-9 _ -, up to 128."
        ),
    ] = None,
) -> None:
    """Whom a job is for."""


def _content(
    *,
    document: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-|URL",
            help="The job document, a JSON object: a file, standard input, or a URL for the service.",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Id or ARN of a job template, or a managed one: AWS-Reboot.",
            autocompletion=completed_template,
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A parameter of the managed template; may be repeated."),
    ] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="What the job is for.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag of the job; may be repeated.")
    ] = None,
    presign_role: Annotated[
        str | None,
        typer.Option(metavar="ARN", help="Who signs the document's URLs, where the service has no default."),
    ] = None,
    presign_seconds: Annotated[
        int | None, typer.Option(metavar="N", help="How long a signed URL works, 60 to 3600.")
    ] = None,
) -> None:
    """What a job does."""


def _pace(
    *,
    rate: Annotated[
        str | None,
        typer.Option(metavar="N/min|max", help="Executions a minute; max is as fast as the service allows."),
    ] = None,
    exponential: Annotated[
        str | None,
        typer.Option(
            metavar="BASE,FACTOR,N",
            help="Begin with BASE a minute, times FACTOR after each N notified things; "
            "N may be notified=N, succeeded=N or both. --rate is the maximum.",
        ),
    ] = None,
    abort: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND>P%_after_N",
            help='Cancel the job by itself, such as "FAILED>20% after 100"; may be repeated.',
        ),
    ] = None,
    retry: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND=N", help="Retries after FAILED, TIMED_OUT or ALL; may be repeated."),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            "--timeout-minutes",
            metavar="SPAN",
            help="How long a device may work on it: minutes, or such as 2h; 1 minute to 7 days.",
        ),
    ] = None,
) -> None:
    """How fast, and what failures lead to."""


def _time(
    *,
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="YYYY-MM-DD HH:MM (UTC), ISO 8601, or from now on such as +2h."),
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="When to stop, in the same forms as --start.")
    ] = None,
    end_behavior: Annotated[
        EndBehavior | None,
        typer.Option(case_sensitive=False, help="What becomes of executions at the end."),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(metavar="CRON", help='Only then, such as "cron(0 2 ? * SUN *)" (UTC); may be repeated.'),
    ] = None,
    duration: Annotated[
        list[str] | None,
        typer.Option(metavar="SPAN", help="How long the windows last, such as 90 or 2h; up to 1430 minutes."),
    ] = None,
) -> None:
    """When."""


def _declared(*declarations: Any) -> list[inspect.Parameter]:
    """Return the parameters of functions that only declare some, each under the heading of its function."""
    found: list[inspect.Parameter] = []
    for declaration in declarations:
        panel = declaration.__doc__.removesuffix(".")
        for parameter in inspect.signature(declaration, eval_str=True).parameters.values():
            parameter.annotation.__metadata__[0].rich_help_panel = panel
            found.append(parameter)
    return found


CHANGEABLE: Final = _declared(_pace)
"""What an update takes too."""

JOB_OPTIONS: Final = [*_declared(_targets, _content), *CHANGEABLE, *_declared(_time)]
"""What describes a whole job."""

TEMPLATE_OPTIONS: Final = [
    *(each for each in _declared(_content) if each.name not in ("template", "param", "description")),
    *CHANGEABLE,
    *(each for each in _declared(_time) if each.name in ("window", "duration")),
]
"""What a template may hold of it; its description is a must."""
