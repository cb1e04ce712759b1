"""A light client of the AWS API: requests as boto3 writes them, signed one by one, on connections that stay.

One request at a time on each connection; where the server closes it, another is opened, as boto3 does.
"""

import asyncio
import hashlib
import hmac
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from tests.benchmarks.load import BenchmarkError
from tests.benchmarks.servers import Server

REGION: Final = "us-east-1"
KEY_ID: Final = "AKIABENCHMARK"
SECRET: Final = "benchmark/secret"
AGENT: Final = "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux lang/python#3.11 cfg/retry-mode#legacy"


class Request(NamedTuple):
    """What is asked; a query is sorted."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""


@dataclass
class Result:
    """What came of a run."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    """Processor time of the server."""

    @property
    def per_s(self) -> float:
        """Answers in a second."""
        return len(self.latencies_s) / self.seconds

    @property
    def cpu_ms(self) -> float:
        """What an answer cost the server."""
        return self.cpu_s / len(self.latencies_s) * 1000

    def percentile_ms(self, part: float) -> float:
        """The latency that such a part of the answers kept."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)] * 1000


@lru_cache(maxsize=4)
def _signing_key(day: str) -> bytes:
    key = f"AWS4{SECRET}".encode()
    for part in (day, REGION, "iot", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def signed(request: Request, host: str) -> bytes:
    """The bytes of a request, with the headers and the signature of boto3."""
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{at[:8]}/{REGION}/iot/aws4_request"
    canonical = "\n".join(
        (
            request.method,
            request.path,
            request.query,
            f"host:{host}\nx-amz-date:{at}\n",
            "host;x-amz-date",
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(_signing_key(at[:8]), text.encode(), hashlib.sha256).hexdigest()
    target = f"{request.path}?{request.query}" if request.query else request.path
    head = (
        f"{request.method} {target} HTTP/1.1\r\n"
        f"Host: {host}\r\nAccept-Encoding: identity\r\nUser-Agent: {AGENT}\r\nX-Amz-Date: {at}\r\n"
        f"Authorization: AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope},"
        f" SignedHeaders=host;x-amz-date, Signature={signature}\r\n"
        f"amz-sdk-invocation-id: {uuid.uuid4()}\r\namz-sdk-request: attempt=1\r\n"
    )
    if request.body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(request.body)}\r\n"
    return f"{head}\r\n".encode() + request.body


class _Connection(asyncio.Protocol):
    """One request at a time: `ask` writes it, and the future it returns gets head and body of the answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._received = b""
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None

    def ask(self, request: bytes) -> asyncio.Future[tuple[bytes, bytes]]:
        self._received = b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        lower = head.lower()
        _, length, rest = lower.partition(b"\r\ncontent-length:")
        complete = length and len(body) >= int(rest.split(b"\r\n", 1)[0])
        if complete and self._answer is not None and not self._answer.done():
            self._answer.set_result((lower, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BenchmarkError(f"a connection was lost: {exc}"))


async def _ask(port: int, more: Callable[[], Request | None], latencies_s: list[float]) -> None:
    """One client after the other: asks until there is no more to ask."""
    loop, host = asyncio.get_running_loop(), f"127.0.0.1:{port}"
    connection: _Connection | None = None
    while (request := more()) is not None:
        sent = signed(request, host)
        began = time.perf_counter()
        if connection is None:
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
        head, body = await connection.ask(sent)
        latencies_s.append(time.perf_counter() - began)
        if b" 200 " not in head[:14]:
            raise BenchmarkError(f"{head.splitlines()[0]!r}: {body[:200]!r}")
        if b"\r\nconnection: close" in head:
            # moto's server does; like boto3's pool, the next request dials again.
            connection.transport.close()
            connection = None
    if connection is not None:
        connection.transport.close()


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _run(
    server: Server, requests: Callable[[], Request], connections: int, seconds: float, requests_max: int
) -> Result:
    result, began, left = Result(), time.perf_counter(), requests_max
    cpu_before_s = sum(map(cpu_s, server.pids))

    def more() -> Request | None:
        nonlocal left
        left -= 1
        return requests() if left >= 0 and time.perf_counter() - began < seconds else None

    await asyncio.gather(*(_ask(server.port, more, result.latencies_s) for _ in range(connections)))
    result.seconds = time.perf_counter() - began
    result.cpu_s = sum(map(cpu_s, server.pids)) - cpu_before_s
    return result


def run(
    server: Server,
    requests: Callable[[], Request],
    *,
    connections: int,
    seconds: float,
    requests_max: int = 1_000_000,
) -> Result:
    """Ask until the time is over or so many requests are made; all must be answered with 200.

    Raises:
        BenchmarkError: one was refused, or a connection was lost.

    """
    return asyncio.run(_run(server, requests, connections, seconds, requests_max))
