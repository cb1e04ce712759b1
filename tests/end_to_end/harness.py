"""Runs the real programs for tests: `thingjobs up`, the agent and the command line, in a test's folder.

    with running_service(tmp_path) as service, running_agent(tmp_path, service, "press-7", handlers) as agent:
        service.thingjobs("job", "show", "j1")
        service.kill(); service.start()   # a power cut: the same port, the same data directory

Everything that was started is ended when its block is left.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import free_port
from thingjobs_broker.programs import BackgroundProgram

THINGJOBS = [sys.executable, "-m", "thingjobs_broker.cli.main"]
AGENT = [sys.executable, "-m", "thingjobs_agent"]
START_SECONDS_MAX = 20.0
COMMAND_SECONDS_MAX = 30.0


class Restartable:
    """A program that can be killed and started again with the same arguments."""

    def __init__(self, name: str, command: list[str], folder: Path, *, ready: str) -> None:
        self._name = name
        self._command = command
        self._folder = folder
        self.ready = ready
        """What the program writes once it can be used."""
        self._program: BackgroundProgram | None = None

    @property
    def program(self) -> BackgroundProgram:
        """The process that was started last."""
        assert self._program is not None
        return self._program

    @property
    def output(self) -> str:
        """What the program has written since it was started last, both streams."""
        return self.program.output

    def start(self) -> None:
        """Starts the program and returns when it is ready; raises ProgramError when it is not in time."""
        log = self._folder / f"{self._name}.log"
        self._program = BackgroundProgram(
            self._name, self._command, log=log, environ=environment(), folder=self._folder
        )
        try:
            self._program.wait_for(self.ready, timeout_seconds=START_SECONDS_MAX)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Ends the program as a power cut would."""
        self.program.kill()

    def stop(self) -> int:
        """Ends the program as systemd would, and returns its exit code."""
        return self.program.stop()

    def stop_if_started(self) -> None:
        """Ends the program, whatever has become of it."""
        if self._program is not None:
            self.stop()


class Service(Restartable):
    """`thingjobs up`: the broker and the jobs service."""

    def __init__(self, folder: Path, arguments: tuple[str, ...], port: int) -> None:
        self.port = port
        self.broker = f"mqtt://127.0.0.1:{port}"
        self.data_dir = folder / "data"
        command = [*THINGJOBS, "up", "--listen", f"127.0.0.1:{port}", "--data-dir", str(self.data_dir)]
        super().__init__(f"up-{port}", [*command, *arguments], folder, ready="listening on ")

    def thingjobs(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a client command against this service; see `thingjobs`."""
        return thingjobs(*arguments, environ={"THINGJOBS_BROKER": self.broker}, **options)

    def ask(self, *arguments: str) -> dict[str, Any]:
        """The JSON document of a client command that must succeed."""
        answer: dict[str, Any] = json.loads(self.thingjobs(*arguments, "--json").stdout)
        return answer

    def create_job(self, job_id: str, thing_name: str, document: Mapping[str, Any], *options: str) -> None:
        """Creates a job for one thing."""
        self.thingjobs(
            *("job", "create", "--id", job_id, "--target", thing_name, "--document", "-", *options),
            stdin=json.dumps(document),
        )

    def wait_for_status(self, job_id: str, thing_name: str, status: str, *, timeout_s: float = 15.0) -> None:
        """Returns once the execution has the status; raises TimeoutError when it does not get it in time."""
        wait_until(
            lambda: self.ask("execution", "show", thing_name, job_id)["execution"]["status"] == status,
            what=f"{job_id} on {thing_name} to be {status}",
            timeout_s=timeout_s,
        )


@contextmanager
def running_service(
    folder: Path, *arguments: str, port: int | None = None, anonymous: bool = True
) -> Iterator[Service]:
    """A service on a free port, with its data in `folder`/data."""
    options = (*arguments, "--anonymous") if anonymous else arguments
    service = Service(folder, options, free_port() if port is None else port)
    service.start()
    try:
        yield service
    finally:
        service.stop()


@contextmanager
def running_agent(
    folder: Path, service: Service, thing_name: str, handlers: Path, *arguments: str
) -> Iterator[Restartable]:
    """An agent that speaks for a thing, with its state in `folder`/state-THING."""
    command = [*AGENT, "run", "--thing", thing_name, "--broker", service.broker]
    command += [
        "--state-dir",
        str(folder / f"state-{thing_name}"),
        "--handler-dir",
        str(handlers),
        *arguments,
    ]
    agent = Restartable(f"agent-{thing_name}", command, folder, ready="Connected")
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()


def thingjobs(
    *arguments: str, environ: Mapping[str, str] | None = None, stdin: str = "", check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs `thingjobs`; with `check` it must exit with 0."""
    done = subprocess.run(
        [*THINGJOBS, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(environ),
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
    assert not check or done.returncode == 0, f"thingjobs {' '.join(arguments)}: {done.stderr}"
    return done


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the programs: plain output, so that it can be compared."""
    return {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "default", **(more or {})}


def handler_folder(folder: Path, scripts: Mapping[str, str]) -> Path:
    """A folder of handlers that an agent accepts."""
    handlers = folder / "handlers"
    handlers.mkdir(mode=0o700)
    for name, text in scripts.items():
        path = handlers / name
        path.write_text(f"#!/bin/sh\nset -eu\n{text}\n", encoding="utf-8")
        path.chmod(0o700)
    return handlers


def document(*steps: tuple[str, str, list[str]], **members: Any) -> dict[str, Any]:
    """A job document, version 1.0, of steps (name, handler, arguments)."""
    actions = [
        {
            "name": name,
            "type": "runHandler",
            "input": {"handler": handler, "args": arguments, "path": "default"},
        }
        for name, handler, arguments in steps
    ]
    return {"version": "1.0", "steps": [{"action": action} for action in actions], **members}


def wait_until(holds: Callable[[], bool], *, what: str, timeout_s: float = 15.0) -> None:
    """Returns once `holds()`; raises TimeoutError naming `what` when it does not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        time.sleep(0.05)
