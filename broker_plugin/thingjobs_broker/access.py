"""From the settings to where and as whom to connect; refuses what cannot work or would give a secret away."""

from __future__ import annotations

import dataclasses
import ssl
from typing import TYPE_CHECKING

from thingjobs_broker.broker_url import EXAMPLE, is_loopback, parse_broker_url
from thingjobs_broker.host import StartError
from thingjobs_broker.transport import Access

if TYPE_CHECKING:
    from thingjobs_broker.config import SidecarSettings


def access_of(settings: SidecarSettings, *, receive_maximum: int) -> Access:
    """Return where and as whom to connect.

    Raises:
        StartError: the address is none, a file is unreadable, or a password would travel a network in clear.

    """
    try:
        host, port, user, is_tls = parse_broker_url(settings.broker)
    except ValueError as error:
        raise StartError(str(error)) from None
    if settings.password and user is None:
        raise StartError(f"a password is given but no user; name the user in --broker, such as {EXAMPLE}")
    if not settings.client_id:
        raise StartError("client_id is empty; the broker keeps requests for a name only")
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


def device_of(settings: SidecarSettings, service: Access) -> Access | None:
    """Return the way to the same broker for the device to try what devices may do, None if there is none.

    Raises:
        StartError: only one of its user name and password is given, or it is the service's.

    """
    user, password = settings.check_user, settings.check_password
    if bool(user) != bool(password):
        raise StartError("check_user and check_password go together; give both, or neither")
    if user and user == service.user:
        raise StartError(f"check_user is {user!r}, as the service; name a device's user")
    return dataclasses.replace(stranger_of(settings, service), user=user, password=password) if user else None


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
