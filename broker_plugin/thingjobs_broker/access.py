"""From the settings to where and as whom to connect; refuses what cannot work or would give a secret away."""

from __future__ import annotations

import dataclasses
import ipaddress
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from thingjobs_broker.host import StartError
from thingjobs_broker.transport import Access

if TYPE_CHECKING:
    from thingjobs_broker.config import SidecarSettings

DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
EXAMPLE: Final = "mqtts://thingjobs-service@broker.example:8883"


def access_of(settings: SidecarSettings, *, receive_maximum: int) -> Access:
    """Return where and as whom to connect.

    Raises:
        StartError: the address is none, a file is unreadable, or a password would travel a network in clear.

    """
    scheme, host, port, user = parse_broker(settings.broker)
    if settings.password and user is None:
        raise StartError(f"a password is given but no user; name the user in --broker, such as {EXAMPLE}")
    if not settings.client_id:
        raise StartError("client_id is empty; the broker keeps requests for a name only")
    is_tls = scheme == "mqtts"
    if settings.password and not is_tls and not is_loopback(host) and not settings.insecure:
        raise StartError(f"the password would travel to {host} in clear; use mqtts://, or give --insecure")
    return Access(
        host,
        port,
        settings.client_id,
        user,
        settings.password or None,
        _tls(settings) if is_tls else None,
        settings.mqtt_version == "5",
        receive_maximum,
    )


def stranger_of(settings: SidecarSettings, service: Access) -> Access:
    """Return the way to the same broker for somebody without a login."""
    tls = _tls(settings, with_certificate=False) if service.tls is not None else None
    return dataclasses.replace(service, user=None, password=None, tls=tls)


def parse_broker(address: str) -> tuple[str, str, int, str | None]:
    """Return scheme, host, port and user of `mqtt[s]://[USER@]HOST[:PORT]`.

    Raises:
        StartError: it is none, or it holds a password, which others could read among the processes.

    """
    try:
        parts = urlsplit(address)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise StartError(_NO_ADDRESS.format(_without_secret(address))) from None
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise StartError(_NO_ADDRESS.format(_without_secret(address)))
    if parts.password is not None:
        raise StartError(
            "the broker's address holds a password; give it as THINGJOBS_PASSWORD or in the file"
        )
    return parts.scheme, parts.hostname, port, unquote(parts.username) if parts.username else None


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_NO_ADDRESS: Final = f"broker {{!r}} is not mqtt[s]://[USER@]HOST[:PORT], such as {EXAMPLE}"


def _without_secret(address: str) -> str:
    front, at, host = address.rpartition("@")
    return f"...@{host}" if at and ":" in front.rpartition("//")[2] else address


def _tls(settings: SidecarSettings, *, with_certificate: bool = True) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:
        raise StartError(f"ca_file {settings.ca_file}: {error.strerror or error}") from None
    if settings.certificate_file and with_certificate:
        try:
            context.load_cert_chain(settings.certificate_file, settings.key_file or None)
        except OSError as error:
            files = " and ".join(filter(None, (settings.certificate_file, settings.key_file)))
            raise StartError(f"certificate and key in {files}: {error.strerror or error}") from None
    return context
