"""Checks from an operator's chair: the way to the broker, its certificate, the login, the service behind."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.broker_url import is_loopback
from thingjobs_broker.cli.connection import listening, tls_context
from thingjobs_broker.doctor.findings import NotChecked, Problem
from thingjobs_broker.doctor.peer import peer

if TYPE_CHECKING:
    from thingjobs_broker.cli.broker_address import BrokerAddress
    from thingjobs_broker.doctor.case import Case

CONNECTS: Final = 3
DAYS_LEFT_MIN: Final = 14
DAY_SECONDS: Final = 86_400
ROUND_TRIPS: Final = 30
ROUND_TRIPS_COUNTED: Final = 10
"""The last ones: TCP acknowledges the first packets of a connection at once."""

WAITING_MS_MAX: Final = 30.0
"""A delayed acknowledgment of TCP takes 40 ms; the fastest answer of a busy service less than this."""

_EXPIRED: Final = 10
_WRONG_HOST: Final = 62
_WRONG_IP_ADDRESS: Final = 64
_RENEW: Final = "thingjobs init DIR --renew makes one; then restart the broker"
_NAME: Final = "name the broker as its certificate does, or thingjobs init DIR --host NAME --renew"
_TLS_FIXES: Final = {
    _EXPIRED: f"give the broker a new certificate: {_RENEW}",
    _WRONG_HOST: _NAME,
    _WRONG_IP_ADDRESS: _NAME,
}
"""By the codes of OpenSSL (X509_V_ERR_*)."""


async def connect(case: Case) -> str:
    """Reach the broker's port, and shake hands where it speaks TLS.

    The fastest of a few attempts without TLS is the network's share of a round trip.
    """
    address, fastest_ms = case.address, float("inf")
    try:
        for _ in range(CONNECTS):
            begun = time.perf_counter()
            await _open(address, tls=None)
            fastest_ms = min(fastest_ms, 1000 * (time.perf_counter() - begun))
        case.network_ms = fastest_ms
    except (OSError, TimeoutError, UnicodeError) as error:
        fix = "start the broker, name it with --broker, or let the firewall pass its port"
        raise Problem(f"cannot reach {address}: {_reason(error)}", fix) from None
    try:
        case.certificate = await _open(address, tls=tls_context(address)) if address.tls else {}
    except ssl.SSLCertVerificationError as error:
        fix = _TLS_FIXES.get(error.verify_code, "give its authority with --ca-file")
        raise Problem(f"the certificate of {address} is not good: {error.verify_message}", fix) from None
    except (OSError, TimeoutError) as error:
        fix = "is it the port of a TLS listener? if not, give mqtt://"
        raise Problem(f"{address}: the TLS handshake fails: {_reason(error)}", fix) from None
    return f"{address} can be reached, in {fastest_ms:.1f} ms"


async def certificate(case: Case) -> str:
    """Look for how long the broker's certificate is good; `connect` has made sure that it is trusted."""
    address = case.address
    if not address.tls:
        if is_loopback(address.host):
            return "plain MQTT, which stays on this machine"
        raise Problem(
            f"everything travels to {address.host} in clear, passwords too",
            "use the broker's TLS listener: --broker mqtts://...",
        )
    days_left = (ssl.cert_time_to_seconds(case.certificate["notAfter"]) - time.time()) / DAY_SECONDS
    if days_left < DAYS_LEFT_MIN:
        raise Problem(f"the certificate expires in {days_left:.0f} days", f"renew it: {_RENEW}")
    return f"trusted, and valid for {days_left:.0f} days"


async def login(case: Case) -> str:
    """Log in, and stay so for the checks that follow."""
    case.connection = await case.stack.enter_async_context(listening(case.address))
    return f"the broker lets {_who(case.address)} in"


async def subscribe(case: Case) -> str:
    """Subscribe to answers; Mosquitto grants it to everybody, so the next check tells more."""
    await case.connection.open()
    return "the broker grants the subscription to answers"


async def service(case: Case) -> str:
    """Have a question answered."""
    begun = time.perf_counter()
    await case.connection.call("ListThings", maxResults=1)
    return f"the jobs service answers, in {1000 * (time.perf_counter() - begun):.1f} ms"


async def latency(case: Case) -> str:
    """Find small packets that wait for TCP. The fastest counts: a busy machine delays some, TCP all."""
    took_ms = []
    for _ in range(ROUND_TRIPS):
        begun = time.perf_counter()
        await case.connection.call("ListThings", maxResults=1)
        took_ms.append(1000 * (time.perf_counter() - begun))
    fastest_ms = min(took_ms[-ROUND_TRIPS_COUNTED:])
    if fastest_ms - case.network_ms > WAITING_MS_MAX:
        raise Problem(
            f"every answer takes {fastest_ms:.0f} ms, of which the network takes {case.network_ms:.1f} ms:"
            " small packets wait for TCP's acknowledgments",
            "Mosquitto: set_tcp_nodelay true; otherwise look for what delays the broker or the service",
        )
    return f"an answer takes {fastest_ms:.1f} ms; no packet waits for TCP"


async def broker(case: Case) -> str:
    """Name the broker, where it says what it is."""
    topic = "$SYS/broker/version"
    async with peer(case.address) as client:
        await client.subscribe(topic)
        for message in await client.heard(f"{case.address.topic_root}/control/{case.token}/+/accepted"):
            if message.topic == topic:
                return message.payload.decode("utf-8", "replace")
    raise NotChecked(f"the broker does not tell {_who(case.address)} what it is")


def _who(address: BrokerAddress) -> str:
    return f"user {address.user!r}" if address.user else "a client without a user name"


def _reason(error: Exception) -> str:
    """Return what the system, or OpenSSL, calls the error; asyncio only says that a call failed."""
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    number = getattr(error, "errno", None)
    if number and number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error) or "no answer"


async def _open(address: BrokerAddress, *, tls: ssl.SSLContext | None) -> dict[str, Any]:
    """Connect and close; return the peer's certificate, empty without TLS."""
    async with asyncio.timeout(address.timeout_seconds):
        host = address.host if tls is not None else None
        _, writer = await asyncio.open_connection(address.host, address.port, ssl=tls, server_hostname=host)
        certificate: dict[str, Any] = writer.get_extra_info("peercert") or {}
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return certificate
