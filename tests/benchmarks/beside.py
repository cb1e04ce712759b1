"""What is measured beside Mosquitto: responders that store nothing, `thingjobs serve` with little or much."""

import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.benchmarks import servers
from tests.benchmarks.load import BenchmarkError
from tests.benchmarks.servers import THING_PREFIX, Server
from tests.support import ROOT, find_program, free_port
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.state import State
from thingjobs_broker.programs import BackgroundProgram, ProgramError
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.lock import prepare_data_directory
from thingjobs_broker.store.record_codec import pack
from thingjobs_broker.store.store import Store

READY_S_MAX = 60.0
TARGETS_OF_A_JOB = 100
ENTRIES_OF_AN_APPEND = 1000


@contextlib.contextmanager
def mosquitto_alone(folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of Mosquitto at its fastest: no Nagle, no limit on what waits."""
    program = find_program("mosquitto")
    if program is None:
        raise BenchmarkError("mosquitto is not installed; install it with: apt-get install mosquitto")
    port, config = free_port(), folder / "mosquitto.conf"
    config.write_text(servers.MOSQUITTO_CONFIG.format(port=port), encoding="utf-8")
    with servers._running(folder / "mosquitto.log", port, program, "-c", str(config)) as pid:
        yield port, pid


@contextlib.contextmanager
def python_echo(folder: Path, kind: str) -> Iterator[Server]:
    """Mosquitto with a responder on aiomqtt."""
    command = [sys.executable, "-m", "tests.benchmarks.echo_aiomqtt", kind]
    with mosquitto_alone(folder) as (port, broker), _beside(folder, "ready", *command, str(port)) as echo:
        yield Server(port, [broker, echo])


@contextlib.contextmanager
def sidecar(
    folder: Path, data_dir: Path, *, limited: bool = False, with_http: bool = False
) -> Iterator[Server]:
    """Mosquitto with `thingjobs serve` as a user starts it, journal and all.

    A few devices that ask as fast as they can stand for many: they are `limited` only on demand.
    """
    with mosquitto_alone(folder) as (port, broker):
        command = [str(servers.thingjobs()), "serve", "--broker", f"mqtt://127.0.0.1:{port}", "--insecure"]
        environ = {} if limited else {"THINGJOBS_LIMITS_REQUESTS_PER_SECOND": "0"}
        http_port = free_port() if with_http else 0
        command += ["--data-dir", str(data_dir), *(servers.http_options(http_port) if with_http else [])]
        with _beside(folder, "serving beside", *command, environ=environ) as service:
            yield Server(port, [broker, service], http_port)


@contextlib.contextmanager
def _beside(
    folder: Path, ready: str, *command: str, environ: Mapping[str, str] | None = None
) -> Iterator[int]:
    """The process id of a program that has said that it is ready."""
    environ = {**os.environ, **(environ or {})}
    log = folder / f"{uuid.uuid4().hex}.log"
    with BackgroundProgram(command[0], command, log=log, environ=environ, folder=ROOT) as program:
        try:
            program.wait_for(ready, timeout_seconds=READY_S_MAX)
        except ProgramError as reason:
            raise BenchmarkError(f"{reason}\n{program.output[-2000:]}") from None
        yield program.pid


Execute = Callable[..., None]


@contextlib.contextmanager
def recording(data_dir: Path) -> Iterator[tuple[JobsService, Execute]]:
    """A new data directory: what is executed, by operation and members, stands in its journal in the end.

    The rules make the records, as they would for an operator; they are put into the journal in large pieces.
    """
    service = JobsService(State(), lambda: str(uuid.uuid4()))
    prepare_data_directory(data_dir)
    store = Store(OsFiles(), data_dir)
    entries: list[bytes] = []
    now_ms = int(time.time() * 1000)

    def keep(outcome: Outcome) -> None:
        if outcome.records:
            entries.append(pack(outcome.records))
        if len(entries) >= ENTRIES_OF_AN_APPEND:
            store.append(entries)
            entries.clear()

    def execute(operation: str, **members: object) -> None:
        answer, outcome = service.execute(operation, json.dumps(members).encode(), "benchmark", now_ms)
        if isinstance(answer, Exception):
            raise BenchmarkError(f"{operation} was refused: {answer}")
        keep(outcome)
        while (due_ms := service.next_deadline_ms()) is not None and due_ms <= now_ms:
            keep(service.fire_timers(now_ms))

    yield service, execute
    store.append(entries)
    store.close()


def prepare(data_dir: Path, executions: int) -> None:
    """Makes a data directory with so many things, and a job in progress or waiting for each of them."""
    things = [f"{THING_PREFIX}{number}" for number in range(executions)]
    with recording(data_dir) as (service, execute):
        for thing in things:
            execute("CreateThing", thingName=thing)
        for start in range(0, executions, TARGETS_OF_A_JOB):
            targets = things[start : start + TARGETS_OF_A_JOB]
            job = {"jobId": f"benchmark-{start}", "targets": targets}
            execute("CreateJob", **job, document='{"operation":"benchmark"}')
    live = sum(len(thing.executions) for thing in service.state.things.values())
    if live != executions:
        raise BenchmarkError(f"{live} executions were made, not {executions}")
