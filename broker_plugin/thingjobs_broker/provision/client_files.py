"""The files of those who connect: agents' settings, the service's, what an operator's shell reads. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from thingjobs_broker.provision.broker_files import PLAIN_PORT, toml
from thingjobs_broker.provision.names import CHECK, SERVICE

if TYPE_CHECKING:
    from pathlib import Path

    from thingjobs_broker.provision.layout import Layout, Login


def broker_url(host: str, port: int, user: str = "") -> str:
    """Return an address with TLS."""
    host = f"[{host}]" if ":" in host else host
    return f"mqtts://{user}@{host}:{port}" if user else f"mqtts://{host}:{port}"


def agent_toml(name: str, url: str, login: Login, *, certificate: bool) -> str:
    """Return the settings of a device's agent; `login` is where its files will lie on the device."""
    settings = {"thing": name, "broker": url, "tls_ca_file": str(login.ca)}
    if certificate:
        settings |= {"tls_cert_file": str(login.certificate), "tls_key_file": str(login.key)}
    else:
        settings |= {"password_file": str(login.password)}
    return "# The settings of thingjobs-agent run --config.\n" + toml(settings)


def serve_toml(password: str, check_password: str, data_dir: Path, layout: Layout) -> str:
    """Return the settings of the service beside Mosquitto on the same machine."""
    settings: dict[str, Any] = {
        "broker": f"mqtt://{SERVICE}@127.0.0.1:{PLAIN_PORT}",
        "password": password,
        "check_user": CHECK,
        "check_password": check_password,
        "data_dir": str(data_dir),
        "http": {
            "access_keys": str(layout.access_keys),
            "tls": True,
            "tls_certificate": str(layout.server_certificate),
            "tls_key": str(layout.server_key),
        },
    }
    return "# The settings of thingjobs serve --config. Keep it secret: it holds passwords.\n" + toml(
        settings
    )


def operator_sh(url: str, login: Login) -> str:
    """Return the variables that an operator's commands want; the password stays in its file."""
    return (
        "# Read by the operator's shell: . operator.sh\n"
        f"export THINGJOBS_BROKER={shlex.quote(url)}\n"
        f"export THINGJOBS_CA_FILE={shlex.quote(str(login.ca))}\n"
        f'export THINGJOBS_PASSWORD="$(cat {shlex.quote(str(login.password))})"\n'
    )
