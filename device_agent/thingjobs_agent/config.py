"""The settings of the agent, the same in the TOML file, the environment and on the command line, and their
checks.
"""

from __future__ import annotations

import dataclasses
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from thingjobs_agent.errors import UsageError
from thingjobs_agent.local import HANDLERS_TABLE, Local, Rule, read_commands, read_rules
from thingjobs_agent.machine.state import Limits
from thingjobs_agent.secret_files import check_private, read_private, read_text
from thingjobs_protocol.limits import THING_NAME_PATTERN
from thingjobs_protocol.settings import SettingsError, resolve, setting
from thingjobs_protocol.topics import DEFAULT_ROOT

ENV_PREFIX: Final = "THINGJOBS_AGENT"
CONFIG_VARIABLE: Final = "THINGJOBS_AGENT_CONFIG"
PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that can be set. Paths are as given; durations are in seconds."""

    thing: str = setting("Name of the thing this agent speaks for.", default="")
    broker: str = setting("Address of the broker, mqtt:// or mqtts://.", default="mqtt://127.0.0.1:1883")
    state_dir: str = setting("Directory of the agent's own state.", default="/var/lib/thingjobs-agent")
    handler_dir: str = setting(
        "The one directory handlers are run from.", default="/etc/thingjobs-agent/handlers"
    )
    client_id: str | None = setting("MQTT client id; the thing's name if not given.", default=None)
    username: str | None = setting("MQTT user name; the thing's name if not given.", default=None)
    password: str | None = setting("MQTT password; safer in password_file.", default=None, secret=True)
    password_file: str | None = setting("File whose first line is the MQTT password.", default=None)
    tls_ca_file: str | None = setting("Certificates to trust, instead of the system's.", default=None)
    tls_cert_file: str | None = setting("Certificate of this device.", default=None)
    tls_key_file: str | None = setting("Private key of this device.", default=None)
    keepalive_seconds: int = setting(
        "Longest silence on the connection.", default=60, minimum=5, maximum=3600
    )
    persistent_session: bool = setting("Let the broker keep notifications while offline.", default=True)
    topic_root: str = setting("First segment of all job topics.", default=DEFAULT_ROOT)
    cancel_grace_period_seconds: int = setting(
        "Time between SIGTERM and SIGKILL.", default=10, minimum=0, maximum=3600
    )
    step_timeout_seconds: int = setting(
        "Longest run of a step whose document does not say.", default=3600, minimum=1, maximum=604_800
    )
    restarts_max: int = setting(
        "How often an interrupted job may run again.", default=3, minimum=0, maximum=100
    )
    heartbeat_seconds: int = setting(
        "Longest silence about a job that runs.", default=300, minimum=10, maximum=86_400
    )
    reboot_command: list[str] = setting(
        "What a reboot step runs; empty: reboots are off.", default=["shutdown", "-r", "now"]
    )
    reboot_wait_seconds: int = setting(
        "Longest wait for the device to go down.", default=300, minimum=1, maximum=86_400
    )
    reboots_max: int = setting(
        "How often one step may ask for its reboot before the job fails.", default=3, minimum=1, maximum=100
    )
    allowed_commands: list[str] = setting(
        "Commands that runCommand may run, as /path/to/program arguments; a last * stands for any "
        "further ones. Empty: runCommand is off.",
        default=[],
    )
    evaluate_conditions: bool = setting(
        "Reject jobs whose conditions do not hold here, instead of ignoring conditions.", default=False
    )
    facts: list[str] = setting("Facts for conditions besides the built-in ones, as name=value.", default=[])
    legacy_std_err: bool = setting(
        "A flat document without allowStdErr fails when its handler writes to stderr.", default=False
    )
    environment: list[str] = setting("Names of variables that handlers may see besides.", default=[])
    handler_user: str | None = setting(
        "User that handlers run as; the agent's own if not given.", default=None
    )
    limit_cpu_seconds: int | None = setting(
        "Processor time of a handler.", default=None, minimum=1, maximum=2**31
    )
    limit_memory_mib: int | None = setting(
        "Address space of each process of a handler.", default=None, minimum=1, maximum=2**31
    )
    limit_processes: int | None = setting(
        "Processes of the user a handler runs as; does not hold for root.",
        default=None,
        minimum=1,
        maximum=2**31,
    )
    limit_file_mib: int | None = setting(
        "Size of a file a handler writes.", default=None, minimum=1, maximum=2**31
    )
    redact_file: str | None = setting(
        "File with texts, one a line, that no report and no log may show.", default=None
    )
    log_format: Literal["text", "json"] = setting("Form of the log on standard error.", default="text")
    log_level: Literal["debug", "info", "warning", "error"] = setting("What to log.", default="info")

    def limits(self, facts: dict[str, str] | None = None) -> Limits:
        """Return what bears on decisions; `facts` if conditions are evaluated."""
        return Limits(
            step_timeout_ms=self.step_timeout_seconds * 1000,
            grace_ms=self.cancel_grace_period_seconds * 1000,
            restarts_max=self.restarts_max,
            reboot_wait_ms=self.reboot_wait_seconds * 1000,
            reboots_max=self.reboots_max,
            heartbeat_ms=self.heartbeat_seconds * 1000,
            is_std_err_strict=self.legacy_std_err,
            facts=facts,
        )


@dataclasses.dataclass(frozen=True)
class Broker:
    """Where and as whom to connect."""

    host: str
    port: int
    client_id: str
    username: str
    password: str | None = dataclasses.field(repr=False)
    tls: ssl.SSLContext | None


@dataclasses.dataclass(frozen=True)
class Config:
    """All there is to know before the agent starts. `origins` says where each setting came from."""

    settings: Settings
    local: Local
    origins: Mapping[str, str]
    secrets: tuple[str, ...] = dataclasses.field(repr=False)


def load_config(config: str | None, flags: Mapping[str, object], environ: Mapping[str, str]) -> Config:
    """Return the settings from all their sources, and the local rules from the file.

    Raises:
        UsageError: a file that cannot be read, an unknown key, a wrong value.

    """
    path = config or environ.get(CONFIG_VARIABLE)
    file_name = path or "the settings file"
    file = _read_toml(path) if path else {}
    rules = read_rules(file.pop(HANDLERS_TABLE, {}), file_name)
    if path and "password" in file:
        check_private(path, "the settings file, which holds the password,")
    try:
        settings, origins = resolve(
            Settings,
            file=file,
            file_name=file_name,
            environ=environ,
            env_prefix=ENV_PREFIX,
            env_ignored=(CONFIG_VARIABLE,),
            flags=flags,
        )
    except SettingsError as error:
        raise UsageError(str(error)) from None
    return Config(settings, _local(settings, rules), origins, _secrets(settings))


def _local(settings: Settings, rules: dict[str, Rule]) -> Local:
    for pair in settings.facts:
        if not pair.partition("=")[1] or pair.startswith("="):
            raise UsageError(f"facts must be name=value, not {pair!a}")
    return Local(
        handler_dir=absolute(settings.handler_dir),
        commands=read_commands(settings.allowed_commands),
        reboot_command=tuple(settings.reboot_command),
        default=Rule(
            user=settings.handler_user,
            cpu_seconds=settings.limit_cpu_seconds,
            memory_mib=settings.limit_memory_mib,
            processes=settings.limit_processes,
            file_mib=settings.limit_file_mib,
        ),
        rules=rules,
    )


def _secrets(settings: Settings) -> tuple[str, ...]:
    """Return what must not be shown: the password, and what the operator lists."""
    listed = read_private(settings.redact_file, "redact_file") if settings.redact_file else ""
    found = [*listed.splitlines(), password_of(settings) or ""]
    return tuple(secret for secret in found if secret)


def broker_of(settings: Settings) -> Broker:
    """Return where to connect, with every file that takes part read and checked.

    Raises:
        UsageError: the thing, the address, the password or a certificate is missing or wrong.

    """
    if not settings.thing:
        raise UsageError("thing is missing: give it with --thing, or as THINGJOBS_AGENT_THING")
    if not re.match(THING_NAME_PATTERN, settings.thing):
        raise UsageError(f"thing must be 1 to 128 characters of [a-zA-Z0-9:_-], not {settings.thing[:160]!a}")
    if not settings.topic_root or re.search(r"[+#\0]", settings.topic_root):
        raise UsageError(f"topic_root must be a topic without + and #, not {settings.topic_root!a}")
    scheme, host, port, user = _split_url(settings.broker)
    tls_files = (settings.tls_ca_file, settings.tls_cert_file, settings.tls_key_file)
    if scheme == "mqtt" and any(tls_files):
        raise UsageError("the tls_ settings need a broker with mqtts://")
    return Broker(
        host=host,
        port=port,
        client_id=settings.client_id or settings.thing,
        username=settings.username or user or settings.thing,
        password=password_of(settings),
        tls=tls_of(settings) if scheme == "mqtts" else None,
    )


def _split_url(url: str) -> tuple[str, str, int, str | None]:
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - only when the agent runs

    problem = f"broker must look like mqtt://host:1883 or mqtts://host:8883, not {url[:160]!a}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(problem) from None
    if parts.password is not None:
        raise UsageError(
            "broker must not hold a password, which others could see; "
            "use password_file or THINGJOBS_AGENT_PASSWORD"
        )
    if (
        parts.scheme not in PORTS
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
        or port == 0
    ):
        raise UsageError(problem)
    return parts.scheme, parts.hostname, port or PORTS[parts.scheme], unquote(parts.username or "") or None


def password_of(settings: Settings) -> str | None:
    """Return the MQTT password, wherever it is.

    Raises:
        UsageError: it is given twice, cannot be read, or others can read it.

    """
    if settings.password_file is None:
        return settings.password
    if settings.password is not None:
        raise UsageError("password and password_file are both given; keep one of them")
    text = read_private(settings.password_file, "password_file")
    return text.partition("\n")[0].rstrip("\r")


def tls_of(settings: Settings) -> ssl.SSLContext:
    """Return how to speak TLS: with the authorities given, which replace the system's, and our certificate.

    Raises:
        UsageError: a file cannot be used, or others can read the key.

    """
    if settings.tls_key_file is not None and settings.tls_cert_file is None:
        raise UsageError("tls_key_file is given without tls_cert_file")
    for key in ("tls_ca_file", "tls_cert_file"):
        if getattr(settings, key) is not None:
            read_text(getattr(settings, key), key)
    if settings.tls_key_file is not None:
        read_private(settings.tls_key_file, "tls_key_file")
    elif settings.tls_cert_file is not None:
        check_private(settings.tls_cert_file, "tls_cert_file, which holds the key as well,")
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file)
        if settings.tls_cert_file is not None:
            # An empty password instead of a prompt: nobody sits in front of a gateway.
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
    except (OSError, ValueError) as error:
        raise UsageError(f"the TLS files cannot be used: {error}") from None
    return context


def _read_toml(path: str) -> dict[str, object]:
    import tomllib  # noqa: PLC0415 - only when there is a file

    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise UsageError(f"the settings file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings file {path} is not TOML: {error}") from None


def absolute(path: str) -> Path:
    """Return a directory's absolute path, links in it kept: that is how the operator named it."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute() keeps ".."
