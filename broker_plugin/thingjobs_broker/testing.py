"""A pytest plugin: the whole service on a free port, with a clock that stands until a test moves it.

    pytest_plugins = ["thingjobs_broker.testing"]

    def test_a_job_times_out(thingjobs_service):
        thingjobs_service.call("CreateThing", thingName="gateway-1")
        ...
        thingjobs_service.advance(7 * 86_400)

The service is the real one, in a process of its own. Every test gets a new one; `Service` is for fixtures of
another scope.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from thingjobs_broker.cli.broker_address import BrokerAddress
from thingjobs_broker.cli.connection import Connection, connect
from thingjobs_broker.cli.errors import CliError, RefusedError, UnreachableError
from thingjobs_broker.programs import BackgroundProgram, ProgramError
from thingjobs_broker.provision.passwords import new_password, with_user

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path
    from types import TracebackType

__all__ = ["Credentials", "ProgramError", "RefusedError", "Service", "UnreachableError"]

START_SECONDS_MAX: Final = 30.0
CALL_SECONDS_MAX: Final = 60.0
"""To let years pass with all that falls due in them takes its time."""

HOST: Final = "127.0.0.1"
OPERATOR: Final = "operator"
_LISTENING: Final = "listening on mqtt://"
_PORT: Final = re.compile(rf"{_LISTENING}[0-9.]+:([0-9]+)\n")


@dataclass(frozen=True)
class Credentials:
    """What a client needs to log in. The password is in no repr."""

    user: str
    password: str = field(repr=False)


class Service:
    """`thingjobs up --test-clock`, started by `start` or a `with`. Calls block until they are answered, also
    where an event loop runs.

    Args:
        folder: where its data, its password file and its log are; one service each.
        arguments: further ones of `thingjobs up`.

    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.host = HOST
        self.port = 0
        """Free at the first start, the same ever after."""
        self.data_dir = folder / "data"
        self.log = folder / "service.log"
        self._password_file = folder / "passwords"
        self._password_file.touch(mode=0o600)
        self._arguments = arguments
        self._program: BackgroundProgram | None = None
        self._caller: _Caller | None = None
        self.operator = self._new_user(OPERATOR)
        """Who may manage jobs and see events."""

    @property
    def url(self) -> str:
        """Where the service listens."""
        return f"mqtt://{self.host}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the command `thingjobs` reaches this service as its operator."""
        address = f"mqtt://{OPERATOR}@{self.host}:{self.port}"
        return {"THINGJOBS_BROKER": address, "THINGJOBS_PASSWORD": self.operator.password}

    def device(self, thing_name: str) -> Credentials:
        """Return new credentials with which a device acts for a thing, which need not exist yet."""
        return self._new_user(thing_name)

    def call(self, operation: str, /, **members: Any) -> dict[str, Any]:
        """Return the answer to an operation of the control plane; members that are None are left out.

        Raises:
            RefusedError: the service refuses it; `code` is AWS's name of the error.
            UnreachableError: it is not there, or does not answer.

        """
        if self._caller is None:
            raise UnreachableError("the service is not running", "call start first")
        return self._caller.call(operation, members)

    def advance(self, seconds: int) -> float:
        """Let time pass, with all that falls due on the way; return the service's time in epoch seconds."""
        return float(self.call("AdvanceClock", durationInSeconds=seconds)["now"])

    def start(self) -> None:
        """Start it, with the data that is there.

        Raises:
            ProgramError: it does not start; the message has what it said.

        """
        command = [sys.executable, "-m", "thingjobs_broker.cli.main", "up", "--test-clock"]
        command += ["--listen", f"{self.host}:{self.port}", "--data-dir", str(self.data_dir)]
        command += ["--password-file", str(self._password_file), "--operator", OPERATOR, *self._arguments]
        folder = self.data_dir.parent
        program = BackgroundProgram("thingjobs", command, log=self.log, environ=_environ(), folder=folder)
        try:
            program.wait_for(_LISTENING, timeout_seconds=START_SECONDS_MAX)
            self.port = _port(program)
            self._caller = _Caller(
                BrokerAddress(
                    *(self.host, self.port, OPERATOR, self.operator.password),
                    timeout_seconds=CALL_SECONDS_MAX,
                )
            )
        except (ProgramError, CliError) as error:
            program.stop()
            raise ProgramError(f"{error}; it wrote:\n{program.output}") from None
        self._program = program

    def stop(self) -> None:
        """Stop it as a service manager would; nothing happens when it does not run."""
        self._end(BackgroundProgram.stop)

    def kill(self) -> None:
        """End it as a power cut would; `start` brings it back with all that it had answered for."""
        self._end(BackgroundProgram.kill)

    def _end(self, end: Any) -> None:
        if self._caller is not None:
            self._caller.close()
            self._caller = None
        if self._program is not None:
            end(self._program)
            self._program = None

    def _new_user(self, name: str) -> Credentials:
        """Enter a user; the service reads the file again when it has changed."""
        credentials = Credentials(name, new_password())
        users = with_user(self._password_file.read_text(encoding="utf-8"), name, credentials.password)
        # Replaced as a whole: the service must not read half of it.
        beside = self._password_file.with_suffix(".new")
        beside.touch(mode=0o600)
        beside.write_text(users, encoding="utf-8")
        beside.replace(self._password_file)
        return credentials

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


class _Caller:
    """A connection to the control plane in a thread of its own, so that any test can wait for it.

    Raises:
        UnreachableError: there is none, or the login is refused.

    """

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="thingjobs-control", daemon=True)
        self._thread.start()
        self._connecting = connect(address)
        try:
            self._connection: Connection = self._wait_for(self._connecting.__aenter__())
        except BaseException:
            self._end_loop()
            raise

    def call(self, operation: str, members: dict[str, Any]) -> dict[str, Any]:
        """Return the answer. Raises as `Service.call`."""
        reply: dict[str, Any] = self._wait_for(self._connection.call(operation, **members))
        return reply

    def close(self) -> None:
        """Close the connection, and end the thread."""
        with suppress(CliError):
            self._wait_for(self._connecting.__aexit__(None, None, None))
        self._end_loop()

    def _wait_for(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS_MAX + 10)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _port(program: BackgroundProgram) -> int:
    found = _PORT.search(program.output)
    if found is None:
        raise ProgramError("thingjobs does not say where it listens")
    return int(found[1])


def _environ() -> dict[str, str]:
    """Without our own variables, which are about other services."""
    return {name: value for name, value in os.environ.items() if not name.startswith("THINGJOBS_")}


@pytest.fixture
def thingjobs_service(tmp_path: Path) -> Iterator[Service]:
    """The whole service on a free port, for one test; its clock stands until `advance` moves it."""
    folder = tmp_path / "thingjobs-service"
    folder.mkdir(mode=0o700)
    with Service(folder) as service:
        yield service
