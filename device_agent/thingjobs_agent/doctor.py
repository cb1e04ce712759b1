"""The checks of `doctor` on the way to the service, one after the other as far as they lead: name, TCP, TLS,
connect, each subscription, an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from typing import Any, Final

import aiomqtt

from thingjobs_agent.config import Broker, Config, broker_of
from thingjobs_agent.errors import UsageError
from thingjobs_agent.findings import Finding, expiry, local_findings
from thingjobs_agent.inquiry import Inquiry

CONNECT_SECONDS_MAX: Final = 10.0
SKEW_SECONDS_MAX: Final = 60.0


async def examine(config: Config, *, is_offline: bool) -> list[Finding]:
    """Return the results of all checks."""
    found = local_findings(config)
    if is_offline:
        return found
    try:
        broker = broker_of(config.settings)
        inquiry = Inquiry(config)
    except UsageError as error:
        return [*found, Finding("settings", "fail", str(error), "correct the settings file")]
    return [*found, *await _on_the_way(broker, inquiry)]


async def _on_the_way(broker: Broker, inquiry: Inquiry) -> list[Finding]:
    found = []
    for check in (_name, _tcp, _tls):
        findings = await check(broker)
        found += findings
        if any(each.verdict == "fail" for each in findings):
            # The rest could only fail for the same reason.
            break
    else:
        found += await _mqtt(broker, inquiry)
    return found


async def _name(broker: Broker) -> list[Finding]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            found = await loop.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        reason = str(error) or "no answer"
        return [
            Finding("name", "fail", f"{broker.host}: {reason}", "check broker, the link and /etc/resolv.conf")
        ]
    return [Finding("name", "ok", f"{broker.host} is {found[0][4][0]}")]


async def _tcp(broker: Broker) -> list[Finding]:
    where = f"{broker.host}:{broker.port}"
    try:
        began = time.monotonic()
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            _, writer = await asyncio.open_connection(broker.host, broker.port)
    except (OSError, TimeoutError) as error:
        fix = "check that the broker runs, its port, and firewalls on the way"
        return [Finding("tcp", "fail", f"{where}: {str(error) or 'no answer'}", fix)]
    ms = (time.monotonic() - began) * 1000
    await _close(writer)
    return [Finding("tcp", "ok", f"{where} in {ms:.0f} ms")]


async def _tls(broker: Broker) -> list[Finding]:
    if broker.tls is None:
        return [Finding("tls", "warn", "not used: passwords and jobs travel in the clear", "use mqtts://")]
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            _, writer = await asyncio.open_connection(
                broker.host, broker.port, ssl=broker.tls, server_hostname=broker.host
            )
    except ssl.SSLCertVerificationError as error:
        fix = "check the clock, the name in broker, and that tls_ca_file holds the broker's authority"
        return [Finding("tls", "fail", error.verify_message, fix)]
    except (OSError, TimeoutError) as error:
        fix = "check that this port speaks TLS, and our certificate"
        return [Finding("tls", "fail", str(error) or "no answer", fix)]
    channel = writer.get_extra_info("ssl_object")
    certificate: dict[str, Any] = channel.getpeercert() or {}
    found = [Finding("tls", "ok", f"{channel.version()}, the broker's certificate is trusted")]
    if "notAfter" in certificate:
        ends_at = ssl.cert_time_to_seconds(certificate["notAfter"])
        found.append(expiry("broker's certificate", ends_at, time.time()))
    await _close(writer)
    return found


async def _mqtt(broker: Broker, inquiry: Inquiry) -> list[Finding]:
    found: list[Finding] = []
    try:
        async with inquiry.client() as client:
            found.append(Finding("connect", "ok", f"as {broker.username}, client id {inquiry.client_id}"))
            refused = await inquiry.refused_filters(client)
            found += [
                _subscription(topic, broker, is_refused=topic in refused) for topic in inquiry.filters()
            ]
            if not refused:
                found += await _answer(inquiry, client)
    except (aiomqtt.MqttError, OSError, ValueError) as error:
        fix = "check username, password or certificate, and what the broker logs"
        found.append(Finding("connect" if not found else "mqtt", "fail", str(error), fix))
    return found


def _subscription(topic: str, broker: Broker, *, is_refused: bool) -> Finding:
    if not is_refused:
        return Finding("subscribe", "ok", topic)
    return Finding(
        "subscribe", "fail", f"{topic} is refused", f"let {broker.username} read it (broker's ACL)"
    )


async def _answer(inquiry: Inquiry, client: aiomqtt.Client) -> list[Finding]:
    try:
        answer, seconds = await inquiry.ask(client)
    except TimeoutError:
        fix = "check that the jobs service runs, and that this user may publish its requests"
        return [Finding("service", "fail", "no answer", fix)]
    if "code" in answer:
        detail = f"{answer['code']}: {answer.get('message', '')}"
        return [Finding("service", "fail", detail, "register the thing: thingjobs thing create NAME")]
    found = [Finding("service", "ok", f"answers in {seconds * 1000:.0f} ms")]
    timestamp = answer.get("timestamp")
    if isinstance(timestamp, int):
        found.append(clock_skew(time.time() - timestamp))
    return found


def clock_skew(seconds: float) -> Finding:
    """Tell how far our clock is from that of the service, which says whole seconds, and a moment ago."""
    if -1 < seconds < 2:
        return Finding("clock skew", "ok", "none")
    detail = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the service"
    if abs(seconds) <= SKEW_SECONDS_MAX:
        return Finding("clock skew", "ok", detail)
    return Finding("clock skew", "warn", detail, "timedatectl set-ntp true")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
