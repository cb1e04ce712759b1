"""The address of a broker as one types it, `mqtt[s]://[USER@]HOST[:PORT]`, taken apart. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
EXAMPLE: Final = "mqtts://thingjobs-service@broker.example:8883"

_WITHOUT_SECRET: Final = re.compile(r"mqtts?://[^:/@]*")


class BrokerUrl(NamedTuple):
    """Where a broker is, whether it speaks TLS, and the user to log in as."""

    host: str
    port: int
    user: str | None
    tls: bool


def parse_broker_url(address: str) -> BrokerUrl:
    """Take an address apart; the port defaults to 1883, with TLS to 8883. The user may be percent-encoded.

    Raises:
        ValueError: it is none, or it holds a password, which others could read among the processes.

    """
    try:
        parts = urlsplit(address)
        port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    except (ValueError, KeyError):
        raise ValueError(_no_address(address)) from None
    if not parts.hostname or not port or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(_no_address(address))
    if parts.password is not None:
        raise ValueError(
            "the broker's address holds a password; give it in THINGJOBS_PASSWORD or in a file,"
            " where others cannot read it"
        )
    user = unquote(parts.username) if parts.username else None
    return BrokerUrl(parts.hostname, port, user, parts.scheme == "mqtts")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_address(address: str) -> str:
    front, at, host = address.rpartition("@")
    shown = f"...@{host}" if at and not _WITHOUT_SECRET.fullmatch(front) else address
    return f"broker {shown!r} is not mqtt[s]://[USER@]HOST[:PORT], such as {EXAMPLE}"
