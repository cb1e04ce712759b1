"""`thingjobs serve`: finds the settings and hands over to the server, which serves beside a broker."""

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
    "thingjobs serve --config thingjobs-setup/service/serve.toml",
    "THINGJOBS_PASSWORD=... thingjobs serve --broker mqtts://thingjobs-service@broker.example:8883",
    "thingjobs serve --broker mqtt://127.0.0.1:1883 --data-dir data --insecure",
)


Broker = Annotated[
    str | None,
    typer.Option(metavar="URL", help="mqtt:// or mqtts://USER@HOST:PORT \\[default: mqtt://127.0.0.1:1883]"),
]
Insecure = Annotated[
    bool | None,
    typer.Option(
        "--insecure", help="Also where others could read the password or forge the service's messages."
    ),
]
CaFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="Certificates to trust instead of the system's.")
]
CertificateFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="The service's certificate, where the broker asks for one."),
]
KeyFile = Annotated[str | None, typer.Option(metavar="FILE", help="Private key of the certificate.")]
ClientId = Annotated[
    str | None, typer.Option(metavar="ID", help="The MQTT client id. \\[default: thingjobs-service]")
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", epilog=examples_epilog(*_EXAMPLES))(serve)


def serve(
    *,
    broker: Broker = None,
    data_dir: DataDir = None,
    config: Config = None,
    insecure: Insecure = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    client_id: ClientId = None,
    mqtt_version: Annotated[str | None, typer.Option(metavar="5|3.1.1", help="\\[default: 5]")] = None,
    http: Http = None,
    http_access_keys: HttpAccessKeys = None,
    http_anonymous: HttpAnonymous = None,
    http_tls: HttpTls = None,
    moto_compat: MotoCompat = None,
    log_level: LogLevel = None,
    json_logs: JsonLogs = None,
    test_clock: TestClock = None,
) -> None:
    """Run the jobs service beside an MQTT broker of your own, until Ctrl-C or SIGTERM.

    It waits for a broker that is not there, and comes back after every loss.

    Every setting can also stand in the TOML file, or in a variable such as THINGJOBS_DATA_DIR.
    An option wins over the environment, which wins over the file; the password has no option.
    """
    flags = {
        "broker": broker,
        "data_dir": data_dir,
        "insecure": insecure,
        "ca_file": ca_file,
        "certificate_file": certificate_file,
        "key_file": key_file,
        "client_id": client_id,
        "mqtt_version": mqtt_version,
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
    from thingjobs_broker.config import SidecarSettings

    settings = find_settings(SidecarSettings, flags, config)
    # Large, and of no use where a setting is wrong.
    from thingjobs_broker import server

    return ExitCode.OK if server.run_sidecar(settings) == 0 else ExitCode.NOT_STARTED
