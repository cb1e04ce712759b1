"""Arguments and options that several commands share."""

from typing import Annotated

import typer

from thingjobs_broker.cli.completion import names_of

completed_job = names_of("job")
completed_thing = names_of("thing")
completed_group = names_of("group")
completed_target = names_of("thing", "group")
completed_type = names_of("type")
completed_template = names_of("template", "managed")

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job's id.", autocompletion=completed_job)]
ThingName = Annotated[
    str, typer.Argument(metavar="THING", help="The thing's name.", autocompletion=completed_thing)
]
GroupName = Annotated[
    str, typer.Argument(metavar="GROUP", help="The group's name.", autocompletion=completed_group)
]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after so many entries.")]
Force = Annotated[bool, typer.Option("--force", help="Also what a device is working on.")]

DataDir = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", help="Where the journal lives; made with mode 0700. \\[default: thingjobs-data]"
    ),
]
LogLevel = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error. \\[default: info]")
]
JsonLogs = Annotated[bool | None, typer.Option("--json-logs", help="Log as JSON lines.")]
TestClock = Annotated[
    bool | None,
    typer.Option(
        "--test-clock", help="Time stands still but for thingjobs call AdvanceClock; for tests alone."
    ),
]
Config = Annotated[
    str | None, typer.Option(envvar="THINGJOBS_CONFIG", metavar="FILE", help="Settings as a TOML file.")
]

Http = Annotated[
    str | None,
    typer.Option("--http", metavar="HOST:PORT", help="Also serve the HTTP API of AWS IoT. \\[default: off]"),
]
HttpAccessKeys = Annotated[
    str | None,
    typer.Option("--http-access-keys", metavar="FILE", help="Whose signed requests are served."),
]
HttpAnonymous = Annotated[
    bool | None,
    typer.Option("--http-anonymous", help="Serve HTTP requests that nobody has signed; on loopback only."),
]
HttpTls = Annotated[bool | None, typer.Option("--http-tls/--no-http-tls", help="Speak HTTPS, or not.")]
MotoCompat = Annotated[
    bool | None,
    typer.Option("--moto-compat", help="Stand in for moto's server in tests; on loopback only."),
]
