"""TLS of the embedded broker: the context of its listeners, and who a client is by its certificate.

Which names there are, and what they may do, is decided elsewhere.
"""

from __future__ import annotations

import ssl
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.front import Front
from thingjobs_broker.host import StartError

if TYPE_CHECKING:
    from thingjobs_broker.config import Settings
    from thingjobs_broker.front.bridge import BridgeWriter

_connection: Final[ContextVar[ssl.SSLObject | None]] = ContextVar("connection", default=None)
"""TLS of the connection that the current task serves."""


def certified_name() -> str | None:
    """Return the CN of the verified certificate that the client of the current task has shown, or None."""
    tls = _connection.get()
    # Only what was verified is there to be read (ssl.SSLSocket.getpeercert).
    certificate: dict[str, Any] = (tls.getpeercert() if tls is not None else None) or {}
    for attributes in certificate.get("subject", ()):
        for name, value in attributes:
            if name == "commonName":
                return str(value) or None
    return None


class CertificateFront(Front):
    """A front that lets amqtt's authentication see the certificate of the connection it is asked about.

    amqtt's own `session.ssl_object` will not do: it has been that of another connection in a resumed session.
    """

    async def lets_in(self, connect_frame: bytes, writer: BridgeWriter) -> bool:
        """Ask in the connection's own task; the plugins answer in tasks made by this one."""
        _connection.set(writer.get_ssl_info())
        return await super().lets_in(connect_frame, writer)


def check_tls(settings: Settings) -> None:
    """Refuse settings that would silently do less than they say.

    Raises:
        StartError: the message names the setting.

    """
    if not settings.tls_listen:
        for name in ("tls_certificate", "tls_key", "tls_ca", "tls_crl", "tls_require_certificate"):
            if getattr(settings, name):
                raise StartError(f"{name} is given, but no address to listen on with TLS; give tls_listen")
        return
    if not settings.tls_certificate:
        raise StartError("tls_listen needs the broker's certificate; give tls_certificate and tls_key")
    for name in ("tls_crl", "tls_require_certificate"):
        if getattr(settings, name) and not settings.tls_ca:
            raise StartError(f"{name} needs tls_ca, which says whose certificates count")


def server_context(settings: Settings) -> ssl.SSLContext:
    """Return the context of the TLS listeners: TLS 1.2 or later; with a CA it verifies clients.

    Raises:
        StartError: a file is missing, unreadable or not what it should be; the message names it.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An empty password instead of a prompt: nobody sits in front of a service.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key or None, password="")
    except (OSError, ValueError) as error:
        files = " and ".join(filter(None, (settings.tls_certificate, settings.tls_key)))
        raise StartError(f"certificate and key in {files} cannot be used: {_reason(error)}") from None
    if settings.tls_ca:
        _load(context, settings.tls_ca, "tls_ca")
        context.verify_mode = ssl.CERT_REQUIRED if settings.tls_require_certificate else ssl.CERT_OPTIONAL
    if settings.tls_crl:
        _load(context, settings.tls_crl, "tls_crl")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _load(context: ssl.SSLContext, file: str, name: str) -> None:
    try:
        context.load_verify_locations(file)
    except OSError as error:
        raise StartError(f"{name} {file} cannot be used: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not in PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)
