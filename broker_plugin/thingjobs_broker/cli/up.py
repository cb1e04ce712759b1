"""`thingjobs up`: finds the settings and hands over to the server."""

from typing import Annotated, Any, Final

import typer

from thingjobs_broker.cli.command import end, examples_epilog
from thingjobs_broker.cli.exit_codes import ExitCode
from thingjobs_broker.cli.options import (
    Config,
    DataDir,
    Http,
    HttpAccessKeys,
    HttpAnonymous,
    HttpTls,
    JsonLogs,
    LogLevel,
    MotoCompat,
    TestClock,
)

_EXAMPLES: Final = (
    "thingjobs up --anonymous",
    "thingjobs up --listen 0.0.0.0:1883 --password-file passwd --operator ada",
    "thingjobs up --config thingjobs.toml --data-dir /var/lib/thingjobs",
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up", epilog=examples_epilog(*_EXAMPLES))(up)


def up(
    *,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT", help="Where to listen; may be repeated. \\[default: 127.0.0.1:1883]"
        ),
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    anonymous: Annotated[
        bool | None,
        typer.Option("--anonymous", help="Any client may act for any thing; on loopback only."),
    ] = None,
    password_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Users and hashes, as mosquitto_passwd writes them.")
    ] = None,
    operator: Annotated[
        list[str] | None, typer.Option(metavar="USER", help="Who may manage jobs; may be repeated.")
    ] = None,
    http: Http = None,
    http_access_keys: HttpAccessKeys = None,
    http_anonymous: HttpAnonymous = None,
    http_tls: HttpTls = None,
    moto_compat: MotoCompat = None,
    log_level: LogLevel = None,
    json_logs: JsonLogs = None,
    test_clock: TestClock = None,
) -> None:
    """Run the MQTT broker and the jobs service in one process, until Ctrl-C or SIGTERM.

    Every setting can also stand in the TOML file, or in a variable such as THINGJOBS_DATA_DIR.
    An option wins over the environment, which wins over the file.
    """
    flags = {
        "listen": listen or None,
        "data_dir": data_dir,
        "anonymous": anonymous,
        "password_file": password_file,
        "operators": operator or None,
        "http.listen": http,
        "http.access_keys": http_access_keys,
        "http.anonymous": http_anonymous,
        "http.tls": http_tls,
        "http.moto_compat": moto_compat,
        "log_level": log_level,
        "json_logs": json_logs,
        "test_clock": test_clock,
    }
    end(lambda: _serve(flags, config))


def _serve(flags: dict[str, Any], config: str | None) -> ExitCode:
    from thingjobs_broker.cli.settings import find_settings
    from thingjobs_broker.config import Settings

    settings = find_settings(Settings, flags, config)
    # Large, and of no use where a setting is wrong.
    from thingjobs_broker import server

    return ExitCode.OK if server.run(settings) == 0 else ExitCode.NOT_STARTED
