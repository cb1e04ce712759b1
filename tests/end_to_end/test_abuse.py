"""Devices that misbehave, and many at once, at `thingjobs up` as a user starts it: the others are served.

What it costs them is measured by `tests.benchmarks.abuse`, not here.
"""

import asyncio
import json
import resource
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import abusers
from tests.benchmarks.abuse import running_abuser
from tests.broker.beside import Mosquitto
from tests.broker.front import wire
from tests.broker.front.wire import Wire
from tests.end_to_end.beside_mosquitto import serving
from tests.end_to_end.harness import Service, running_service
from tests.end_to_end.jobs_client import DOCUMENT, JobsClient
from tests.support import free_port

pytestmark = pytest.mark.broker

DEVICES = 50
REQUESTS = 8
# Far more than any answer takes on a busy machine, far less than a starved one would.
ANSWER_SECONDS_MAX = 3.0
STORM_DEVICES = 2000
STORM_SECONDS = 2.0
TARGETS_OF_A_JOB_MAX = 100


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for the whole module."""
    with running_service(tmp_path_factory.mktemp("abuse")) as running:
        yield running


async def behave(port: int, number: int) -> list[str]:
    """A device that asks now and then; how its requests ended."""
    thing = f"lathe-{number}"
    endings = []
    async with JobsClient.connect(port, f"$aws/things/{thing}/jobs/#", client_id=thing) as device:
        for request in range(REQUESTS):
            await asyncio.sleep(0.1)
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                device.publish(f"$aws/things/{thing}/jobs/get", {"clientToken": str(request)})
                answer = await device.receive()
            assert answer.body["clientToken"] == str(request)
            endings.append(answer.ending)
    return endings


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [kind for kind in abusers.KINDS if not kind.startswith("http_")])
async def test_others_are_served_beside(service: Service, kind: str) -> None:
    """Issue 3, item 6: floods of all kinds, a device that never reads, garbage before and after the login."""
    with running_abuser(kind, service.port):
        answered = await asyncio.gather(*(behave(service.port, number) for number in range(DEVICES)))
    assert Counter(ending for endings in answered for ending in endings) == {"accepted": DEVICES * REQUESTS}


@pytest.mark.asyncio
async def test_who_asks_too_fast_is_told(service: Service) -> None:
    """Data plane 3.2: RequestThrottled with the clientToken; one answer for each request, in order."""
    async with JobsClient.connect(service.port, "$aws/things/hasty/jobs/#") as device:
        count = 150
        for number in range(count):
            device.publish("$aws/things/hasty/jobs/get", {"clientToken": str(number)})
        answers = [await device.receive() for _ in range(count)]
        await device.acknowledged()
    assert [answer.body["clientToken"] for answer in answers] == [str(number) for number in range(count)]
    endings = [answer.ending for answer in answers]
    assert endings[:100] == ["accepted"] * 100
    refused = [answer.body["code"] for answer in answers if answer.ending == "rejected"]
    assert set(refused) == {"RequestThrottled"}
    # It is slowed down more than it is refused: after each refusal it is not read for a while.
    assert len(refused) <= 30


# Many at once.


class StormDevice:
    """A device that comes back as often as it must."""

    def __init__(self, port: int, number: int) -> None:
        self.name = f"storm-{number}"
        self._jobs = f"$aws/things/{self.name}/jobs"
        self._port = port
        self.attempts = 0

    @asynccontextmanager
    async def _online(self, delay_s: float) -> AsyncIterator[Wire]:
        """A connection that is subscribed; nothing is waited for but the replies to that."""
        await asyncio.sleep(delay_s)
        self.attempts += 1
        async with Wire.dial(self._port) as line:
            line.send(wire.connect(self.name, user=self.name), wire.subscribe(1, (f"{self._jobs}/#", 1)))
            await asyncio.wait_for(line.expect(wire.connack(), wire.suback(1, 1)), 60)
            yield line

    async def ask_and_vanish(self, delay_s: float) -> None:
        """Asks for the next job, and loses its power before the answer."""
        async with self._online(delay_s) as line:
            line.send(wire.publish(f"{self._jobs}/start-next", b"{}", qos=1))
            await line.writer.drain()

    async def come_back(self, delay_s: float) -> list[dict[str, Any]]:
        """Asks what is next, then for it; the executions in both answers."""
        async with self._online(delay_s) as line:
            found = []
            for packet_id, what in enumerate(("$next/get", "start-next"), 2):
                token = json.dumps({"clientToken": what}).encode()
                line.send(wire.publish(f"{self._jobs}/{what}", token, qos=1, packet_id=packet_id))
                found.append((await self._answer(line, what))["execution"])
        return found

    async def _answer(self, line: Wire, what: str) -> dict[str, Any]:
        """The answer to a request, which must be accepted.

        Mosquitto also hands out the request itself, and a late answer to who asked before the power cut.
        """
        while True:
            frame = await line.receive()
            if frame[0] >> 4 == 4:
                continue
            message = wire.parse_publish(frame)
            line.send(wire.puback(message.packet_id))
            body: dict[str, Any] = json.loads(message.payload)
            if message.topic.startswith(f"{self._jobs}/{what}/") and body.get("clientToken") == what:
                assert message.topic == f"{self._jobs}/{what}/accepted"
                return body


async def call_all(operator: JobsClient, operation: str, requests: list[dict[str, Any]]) -> None:
    """Carries out operations that must succeed, all at once."""
    for request in requests:
        operator.publish(f"$aws/control/{operator.client_id}/{operation}", request)
    assert {(await operator.receive()).ending for _ in requests} == {"accepted"}


@pytest.fixture
def many_sockets() -> Iterator[None]:
    """Room for as many connections as devices, here and in the service, which inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in {-1, resource.RLIM_INFINITY} and hard < STORM_DEVICES * 2:
        pytest.skip(f"at most {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, STORM_DEVICES * 2), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def standing(kind: str, folder: Path) -> Iterator[int]:
    """The port of a broker with the service, which is inside or beside it."""
    if kind == "embedded":
        with running_service(folder) as service:
            yield service.port
        return
    broker = Mosquitto(folder, free_port()).start()
    try:
        with serving(folder, broker):
            yield broker.port
    finally:
        broker.stop()


@pytest.mark.asyncio
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("many_sockets")
@pytest.mark.parametrize("kind", ["embedded", "mosquitto"])
async def test_a_storm_of_reconnecting_devices_is_weathered(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 3, item 6: 2,000 devices within 2 s, twice; all are answered, no job is started twice."""
    # On a busy machine the last one is let in late, but it is let in.
    monkeypatch.setattr(wire, "PATIENCE_SECONDS", 60)
    with standing(kind, tmp_path) as port:
        devices = [StormDevice(port, number) for number in range(STORM_DEVICES)]
        async with JobsClient.connect(port, "$aws/control/storm/+/+", client_id="storm") as operator:
            await call_all(operator, "CreateThing", [{"thingName": device.name} for device in devices])
            jobs = []
            for start in range(0, STORM_DEVICES, TARGETS_OF_A_JOB_MAX):
                targets = [device.name for device in devices[start : start + TARGETS_OF_A_JOB_MAX]]
                jobs.append({"jobId": f"job-{start}", "targets": targets, "document": DOCUMENT})
            await call_all(operator, "CreateJob", jobs)
        delays_s = [STORM_SECONDS * number / STORM_DEVICES for number in range(STORM_DEVICES)]
        await asyncio.gather(*map(StormDevice.ask_and_vanish, devices, delays_s))
        answers = await asyncio.gather(*map(StormDevice.come_back, devices, delays_s))
        job_ids: Counter[str] = Counter()
        for next_execution, started in answers:
            assert next_execution["jobId"] == started["jobId"]
            # Started once: by the request before the power cut, if it came through, or else by this one.
            assert (started["status"], started["versionNumber"]) == ("IN_PROGRESS", 2)
            assert started["executionNumber"] == 1
            job_ids[started["jobId"]] += 1
        assert job_ids == {
            f"job-{start}": TARGETS_OF_A_JOB_MAX for start in range(0, STORM_DEVICES, TARGETS_OF_A_JOB_MAX)
        }
        assert {device.attempts for device in devices} == {2}
