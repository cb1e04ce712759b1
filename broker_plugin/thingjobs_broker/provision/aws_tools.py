"""How an operator calls the service with AWS's tools: the command to paste, address included.

Pure. What the settings leave open is a placeholder, and the setting that decides it is named.
"""

from __future__ import annotations

import shlex
import tomllib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from thingjobs_broker.provision.layout import Login

_EVERYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104 - where a listener may listen
_PORT: Final = "PORT"


def aws_commands(login: Login, settings: Mapping[Path, str], hosts: Sequence[str]) -> list[str]:
    """Return the command, and before it what decides on the port where no settings tell it.

    Args:
        login: the operator's.
        settings: the service's settings as TOML, by the file they stand in.
        hosts: what clients may call the broker, as its certificate says.

    """
    found = {file: _read(text) for file, text in settings.items()}
    listening = [each for each in found.values() if _listener(each) is not None]
    chosen = (listening or [*found.values(), {}])[0]
    address = _address(chosen, hosts)
    variables = {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": str(chosen.get("region", "local"))}
    variables["AWS_SHARED_CREDENTIALS_FILE"] = str(login.credentials)
    if address.startswith("https:"):
        variables["AWS_CA_BUNDLE"] = str(login.ca)
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    command = f"{given} aws iot list-jobs"
    if listening:
        return [command]
    files = " or ".join(map(str, found))
    where = f", or http.listen in {files}" if files else ""
    return [f"{_PORT} is that of the HTTP listener, set with --http HOST:{_PORT}{where}", command]


def _read(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError:  # the service says what is wrong with it
        return {}


def _listener(settings: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the host and the port of the HTTP listener, None without one, or where any free port will do."""
    try:
        address = urlsplit(f"//{_http(settings).get('listen', '')}")
        return (address.hostname or "", address.port) if address.port else None
    except ValueError:
        return None


def _address(settings: Mapping[str, Any], hosts: Sequence[str]) -> str:
    """Return the address by which clients find the service; with TLS it has to stand in the certificate."""
    host, port = _listener(settings) or ("", _PORT)
    is_tls = bool(_http(settings).get("tls", not settings))
    if host in _EVERYWHERE or (is_tls and host not in hosts):
        host = hosts[0] if hosts else "HOST"
    host = str(settings.get("public_host") or host)
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if is_tls else 'http'}://{shown}:{port}"


def _http(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    table = settings.get("http")
    return table if isinstance(table, dict) else {}
