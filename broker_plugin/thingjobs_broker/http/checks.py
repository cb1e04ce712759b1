"""What the HTTP front's settings have to be, before anything is opened."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from thingjobs_broker.broker_url import is_loopback
from thingjobs_broker.config import Settings
from thingjobs_broker.host import StartError
from thingjobs_broker.http.access_keys import AccessKeys, AccessKeysError
from thingjobs_broker.tls import server_context

if TYPE_CHECKING:
    import ssl

    from thingjobs_broker.config import HttpSettings, ServiceSettings


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        StartError: the address is none.

    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise StartError(f"http address {address!r} is not HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def access_keys(settings: HttpSettings, host: str) -> AccessKeys | None:
    """Return the keys that callers sign with, None where anybody may come.

    Raises:
        StartError: anybody could come from elsewhere, or there are no keys.

    """
    open_by = next((name for name in ("moto_compat", "anonymous") if getattr(settings, name)), None)
    if open_by is not None:
        if not is_loopback(host):
            option = f"--{'http-' * (open_by == 'anonymous')}{open_by.replace('_', '-')}"
            raise StartError(f"{option} is for loopback only, not for {settings.listen}")
        return None
    if not settings.access_keys:
        raise StartError(
            "nothing tells who an HTTP client is: give --http-access-keys FILE, as thingjobs init makes it,"
            " or --http-anonymous to try it on loopback"
        )
    try:
        return AccessKeys(Path(settings.access_keys))
    except AccessKeysError as error:
        raise StartError(str(error)) from None


def tls_context(settings: ServiceSettings) -> ssl.SSLContext | None:
    """Return the context of an HTTPS listener, None for plain HTTP.

    Raises:
        StartError: there is no certificate, or it cannot be used.

    """
    http = settings.http
    if not http.tls:
        if http.tls_certificate or http.tls_key:
            raise StartError("http.tls_certificate is given, but HTTPS is off; give --http-tls")
        return None
    certificate, key = http.tls_certificate, http.tls_key
    if not certificate and isinstance(settings, Settings):
        certificate, key = settings.tls_certificate, settings.tls_key
    if not certificate:
        raise StartError("--http-tls needs a certificate; give http.tls_certificate and http.tls_key")
    return server_context(dataclasses.replace(Settings(), tls_certificate=certificate, tls_key=key))
