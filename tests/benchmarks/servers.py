"""What is measured: each server is started on a free port in its own folder, prepared, and stopped again."""

import asyncio
import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
import msgspec

from tests.benchmarks.load import BenchmarkError
from tests.support import ROOT, find_program, free_port, wait_for_port

THING_PREFIX = "bench-"
# The service's own limit on the targets of one job.
TARGETS_OF_A_JOB_MAX = 100
REPLY_TIME_S_MAX = 60.0
START_TIME_S_MAX = 60.0

MOSQUITTO_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 0
"""


@dataclass(frozen=True)
class Server:
    """Something that listens, and the processes that make it up."""

    port: int
    pids: Sequence[int]
    http_port: int = 0


def http_options(port: int) -> list[str]:
    """What lets anybody use the HTTP API on loopback."""
    return ["--http", f"127.0.0.1:{port}", "--http-anonymous"]


def thingjobs() -> Path:
    """The program that is installed beside this Python."""
    program = Path(sys.executable).parent / "thingjobs"
    if not program.exists():
        raise BenchmarkError(f"{program} is not installed; run make install")
    return program


@contextlib.contextmanager
def mosquitto_with_echo(folder: Path, load: Path) -> Iterator[Server]:
    """Mosquitto at its fastest, with a responder in C that stores nothing."""
    program = find_program("mosquitto")
    if program is None:
        raise BenchmarkError("mosquitto is not installed; install it with: apt-get install mosquitto")
    port, config = free_port(), folder / "mosquitto.conf"
    config.write_text(MOSQUITTO_CONFIG.format(port=port), encoding="utf-8")
    with _running(folder / "mosquitto.log", port, program, "-c", str(config)) as broker:
        echo = subprocess.Popen([load, "echo", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            assert echo.stderr is not None
            if echo.stderr.readline() != b"ready\n":
                raise BenchmarkError("the echo responder could not subscribe")
            yield Server(port, [broker, echo.pid])
        finally:
            _stop(echo)


@contextlib.contextmanager
def bare_echo(folder: Path) -> Iterator[Server]:
    """The embedded broker with an endpoint that answers at once: no rules, no journal."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.echo_front", str(port)]
    with _running(folder / "echo.log", port, *command) as pid:
        yield Server(port, [pid])


@contextlib.contextmanager
def jobs_service(
    folder: Path,
    devices: int,
    *,
    limited: bool = False,
    synced: bool = True,
    with_http: bool = False,
    data_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
    program: Sequence[str] = (),
) -> Iterator[Server]:
    """`thingjobs up` as a user starts it, journal and all, with one job for each device.

    A few devices that ask as fast as they can stand for many: they are `limited` only on demand. Not `synced`
    it loses what it accepted when the power fails, to see what syncing costs. It begins with what is in
    `data_dir`. `program` takes the place of `thingjobs`.
    """
    port = free_port()
    program = program or [str(thingjobs())] if synced else [sys.executable, "-m", "tests.benchmarks.unsynced"]
    command = [*program, "up", "--anonymous", "--listen", f"127.0.0.1:{port}"]
    data_dir = data_dir or folder / f"data-{uuid.uuid4().hex}"
    environ = {**(environ or {}), **({} if limited else {"THINGJOBS_LIMITS_REQUESTS_PER_SECOND": "0"})}
    http_port = free_port() if with_http else 0
    command += ["--data-dir", str(data_dir), *(http_options(http_port) if with_http else [])]
    with _running(folder / "service.log", port, *command, environ=environ) as pid:
        asyncio.run(_create_jobs(port, [f"{THING_PREFIX}{number}" for number in range(devices)]))
        yield Server(port, [pid], http_port)


async def _create_jobs(port: int, things: list[str]) -> None:
    """Registers the things and gives each of them one job, over the control plane."""
    async with aiomqtt.Client("127.0.0.1", port, identifier="benchmark") as client:
        client.pending_calls_threshold = len(things)
        await client.subscribe("$aws/control/benchmark/+/accepted", qos=1)
        await client.subscribe("$aws/control/benchmark/+/rejected", qos=1)
        await _call(client, "CreateThing", [{"thingName": thing} for thing in things])
        jobs: list[dict[str, object]] = [
            {
                "jobId": f"benchmark-{start}",
                "targets": things[start : start + TARGETS_OF_A_JOB_MAX],
                "document": '{"operation":"benchmark"}',
            }
            for start in range(0, len(things), TARGETS_OF_A_JOB_MAX)
        ]
        await _call(client, "CreateJob", jobs)


async def _call(client: aiomqtt.Client, operation: str, requests: list[dict[str, object]]) -> None:
    """Calls the operation for every request, all at once; every one must be accepted."""
    for number, request in enumerate(requests):
        payload = msgspec.json.encode(request | {"clientToken": str(number)})
        # QoS 0 keeps the order and does not wait; the replies are what counts.
        await client.publish(f"$aws/control/benchmark/{operation}", payload)
    async with asyncio.timeout(REPLY_TIME_S_MAX):
        for _ in requests:
            reply = await anext(client.messages)
            if not reply.topic.matches(f"$aws/control/benchmark/{operation}/accepted"):
                raise BenchmarkError(f"{operation} was not accepted: {reply.payload!r}")


@contextlib.contextmanager
def _running(log: Path, port: int, *command: str, environ: Mapping[str, str] | None = None) -> Iterator[int]:
    """The process id of a program that listens on the port; a program that does not is shown with its log."""
    with log.open("wb") as output:
        environ = {**os.environ, **(environ or {})}
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=environ)
    try:
        try:
            wait_for_port(port, timeout_s=START_TIME_S_MAX, while_running=process)
        except TimeoutError as reason:
            last_lines = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise BenchmarkError(f"{' '.join(command)}: {reason}\n{last_lines}") from None
        yield process.pid
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stderr is not None:
        process.stderr.close()
