"""The service beside a real Mosquitto when things break: crashes, restarts, a second copy, signals."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.broker.beside import (
    CONFIG,
    Mosquitto,
    base,
    create_job,
    peer,
    service,
    settings_for,
    sidecar,
    wait_for_line,
)
from tests.support import free_port
from thingjobs_broker.host import StartError
from thingjobs_broker.paho_link import ConnectionLost
from thingjobs_broker.sidecar import Sidecar
from thingjobs_broker.store.errors import DataDirectoryInUse

pytestmark = pytest.mark.broker

PRESS = base("press-7")
CONTROL = "$aws/control/ada"
VERSIONS = pytest.mark.parametrize("mqtt_version", ["5", "3.1.1"])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A Mosquitto that keeps sessions over a restart; not started."""
    mosquitto = Mosquitto(tmp_path, free_port())
    yield mosquitto
    mosquitto.stop()


@pytest.mark.asyncio
@VERSIONS
async def test_a_request_that_was_not_synced_is_answered_once_after_a_crash(
    broker: Mosquitto, tmp_path: Path, mqtt_version: str
) -> None:
    """Acknowledged late: killed between receiving and syncing, the broker still has the request."""
    broker.start()
    data = tmp_path / "data"
    async with (
        sidecar(broker.url, data, mqtt_version=mqtt_version),
        peer(broker.port, f"{CONTROL}/+/+") as operator,
    ):
        await create_job(operator, "job-1", "press-7")
    with service(broker.url, data, mqtt_version=mqtt_version, journal="stuck") as doomed:
        async with peer(
            broker.port, f"{PRESS}/start-next/+", identifier="press-7", clean_session=False
        ) as device:
            await asyncio.to_thread(wait_for_line, doomed, "serving")
            await device.publish(f"{PRESS}/start-next", {"clientToken": "once"})
            await asyncio.to_thread(wait_for_line, doomed, "syncing")
            doomed.kill()
            doomed.wait()
            async with sidecar(broker.url, data, mqtt_version=mqtt_version):
                topic, answer = await device.next()
                assert (topic, answer["clientToken"]) == (f"{PRESS}/start-next/accepted", "once")
                assert answer["execution"]["versionNumber"] == 2
                # The next answer is the next request's: there was no second one.
                end, answer = await device.ask(f"{PRESS}/start-next", {"clientToken": "again"})
                assert (end, answer["clientToken"]) == ("accepted", "again")
                assert answer["execution"]["versionNumber"] == 2


@pytest.mark.asyncio
@VERSIONS
async def test_the_service_carries_on_when_the_broker_restarts(
    broker: Mosquitto, tmp_path: Path, mqtt_version: str
) -> None:
    """New connection, same session; requests before and after are answered."""
    broker.start()
    async with sidecar(broker.url, tmp_path / "data", mqtt_version=mqtt_version):
        async with peer(broker.port, f"{PRESS}/+/+") as device:
            assert (await device.ask(f"{PRESS}/start-next"))[0] == "accepted"
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        async with peer(broker.port, f"{PRESS}/+/+") as device:
            assert (await device.ask(f"{PRESS}/start-next"))[0] == "accepted"


@pytest.mark.asyncio
async def test_an_update_is_applied_once_when_its_acknowledgment_is_lost(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker sends it again after the loss; a second time it would be a VersionMismatch."""
    broker.start()
    async with (
        sidecar(broker.url, tmp_path / "data") as service,
        peer(broker.port, f"{CONTROL}/+/+") as operator,
        peer(broker.port, f"{PRESS}/+/update/+") as device,
    ):
        await create_job(operator, "job-1", "press-7")
        ways = service._connection
        assert ways is not None

        def lose(*_: object) -> None:
            answers = ways._answers
            answers.link.drop()
            answers._ended(ConnectionLost("cut by the test"))

        # The connection breaks when the answer is about to leave; the one for requests ends with it.
        monkeypatch.setattr(ways.link, "publish", lose)
        update = {"status": "IN_PROGRESS", "expectedVersion": 1}
        await device.publish(f"{PRESS}/job-1/update", update | {"clientToken": "once"})
        topic, answer = await device.next()
        assert (topic, answer["clientToken"]) == (f"{PRESS}/job-1/update/accepted", "once")
        # The next answer is the next request's: there was no second one.
        end, answer = await device.ask(f"{PRESS}/job-1/update", update | {"clientToken": "stale"})
        assert (end, answer["clientToken"]) == ("rejected", "stale")


@pytest.mark.asyncio
async def test_what_happens_while_the_broker_is_away_is_told_when_it_is_back(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notifications are kept over the loss: a job that timed out meanwhile is announced."""
    broker.start()
    async with sidecar(broker.url, tmp_path / "data") as service:
        async with peer(broker.port, f"{CONTROL}/+/+") as operator:
            await create_job(operator, "job-1", "press-7")
        async with peer(broker.port, identifier="press-7", clean_session=False) as device:
            await device.client.subscribe(f"{PRESS}/notify", qos=1)
        await asyncio.to_thread(broker.stop)
        await asyncio.wait_for(service_lost(service), 10)
        runner = service.host.runner
        assert runner is not None
        request = service_control("CancelJob")
        runner.call(request, b'{"jobId":"job-1"}', "ada", None)
        await asyncio.to_thread(broker.start)
        async with peer(broker.port, identifier="press-7", clean_session=False) as device:
            topic, body = await device.next()
            assert (topic, body["jobs"]) == (f"{PRESS}/notify", {})


async def service_lost(service: Sidecar) -> None:
    """Return when the service has noticed the loss."""
    while service._connection is not None:
        await asyncio.sleep(0.01)


def service_control(operation: str) -> Any:
    """A request of the control plane."""
    from thingjobs_protocol.topics import parse_control

    return parse_control(f"{CONTROL}/{operation}")


@pytest.mark.asyncio
async def test_a_burst_survives_a_restart_of_the_broker(broker: Mosquitto, tmp_path: Path) -> None:
    """Each of 300 devices gets its answer, whichever side of the restart it falls on."""
    broker.start()
    count = 300
    async with sidecar(broker.url, tmp_path / "data"):
        options: dict[str, Any] = {"identifier": "crowd", "clean_session": False}
        wanted = {str(number) for number in range(count)}
        async with peer(broker.port, "$aws/things/+/jobs/start-next/+", **options) as crowd:
            await asyncio.gather(*(ask(crowd, number) for number in range(count)))
            wanted -= {(await crowd.next())[1]["clientToken"] for _ in range(5)}
            await asyncio.to_thread(broker.stop)
            # What this client has acknowledged will not come again.
            received = crowd.client._queue
            while not received.empty():
                wanted.discard(json.loads(received.get_nowait().payload)["clientToken"])
        await asyncio.to_thread(broker.start)
        async with peer(broker.port, **options) as crowd:
            while wanted:
                wanted -= {(await crowd.next())[1]["clientToken"]}


async def ask(crowd: Any, number: int) -> None:
    """Ask for one of many devices."""
    await crowd.publish(f"{base(f'd{number}')}/start-next", {"clientToken": str(number)})


@pytest.mark.asyncio
async def test_a_broker_that_is_absent_at_the_start_is_waited_for(broker: Mosquitto, tmp_path: Path) -> None:
    """The service tries again until it is there."""
    starting = asyncio.ensure_future(started_later(broker))
    async with sidecar(broker.url, tmp_path / "data"), peer(broker.port, f"{PRESS}/+/+") as device:
        assert (await device.ask(f"{PRESS}/get"))[0] == "accepted"
    await starting


async def started_later(broker: Mosquitto) -> None:
    """Start the broker after the service has looked for it."""
    await asyncio.sleep(0.6)
    await asyncio.to_thread(broker.start)


@pytest.mark.asyncio
async def test_a_broker_that_never_answers_can_be_stopped_waiting_for(tmp_path: Path) -> None:
    """Stopping does not wait for a connection that hangs in its handshake."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"mqtt://127.0.0.1:{silent.getsockname()[1]}"
        one = Sidecar(settings_for(url, tmp_path / "data"))
        running = asyncio.ensure_future(one.run())
        accepted, _ = await asyncio.to_thread(silent.accept)
        one.stop()
        await asyncio.wait_for(running, 5)
        accepted.close()


@pytest.mark.asyncio
async def test_a_second_service_on_the_same_data_is_refused(broker: Mosquitto, tmp_path: Path) -> None:
    """The lock on the data directory says who holds it."""
    broker.start()
    async with sidecar(broker.url, tmp_path / "data"):
        second = Sidecar(settings_for(broker.url, tmp_path / "data"))
        with capture_logs() as told, pytest.raises(DataDirectoryInUse) as refused:
            await second.run()
    assert str(os.getpid()) in str(refused.value)
    assert "stopped" not in [entry["action"] for entry in told]


@pytest.mark.asyncio
async def test_a_second_service_with_the_same_client_id_gives_up(broker: Mosquitto, tmp_path: Path) -> None:
    """They throw each other out; the one that came last says why and ends, the other serves on."""
    broker.start()
    async with sidecar(broker.url, tmp_path / "data") as first:
        first._rivals._first_connected_at = -3600.0
        second = Sidecar(settings_for(broker.url, tmp_path / "other"))
        with pytest.raises(StartError, match="thingjobs-service"):
            await asyncio.wait_for(second.run(), 30)
        async with peer(broker.port, f"{PRESS}/+/+") as device:
            assert (await device.ask(f"{PRESS}/get"))[0] == "accepted"


@pytest.mark.asyncio
@VERSIONS
async def test_sigterm_answers_what_is_in_hand(broker: Mosquitto, tmp_path: Path, mqtt_version: str) -> None:
    """What was received is committed and answered; what was not waits at the broker for the next start."""
    broker.start()
    count = 500
    options: dict[str, Any] = {"max_inflight_messages": 0}
    with service(broker.url, tmp_path / "data", mqtt_version=mqtt_version) as process:
        await asyncio.to_thread(wait_for_line, process, "serving")
        async with peer(broker.port, "$aws/things/+/jobs/start-next/+", **options) as crowd:
            sending = [asyncio.ensure_future(ask(crowd, number)) for number in range(count)]
            await crowd.next()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0
            await asyncio.gather(*sending)
            with service(broker.url, tmp_path / "data", mqtt_version=mqtt_version):
                answers = [await crowd.next() for _ in range(count - 1)]
    tokens = [body["clientToken"] for _, body in answers]
    assert len(set(tokens)) == count - 1


@pytest.mark.asyncio
@VERSIONS
async def test_credentials_that_are_refused_end_the_service(tmp_path: Path, mqtt_version: str) -> None:
    """Trying again would change nothing; the message says what to check."""
    closed = CONFIG.replace("allow_anonymous true", "allow_anonymous false")
    broker = Mosquitto(tmp_path, free_port(), closed).start()
    try:
        settings = settings_for(broker.url, tmp_path / "data", mqtt_version=mqtt_version)
        with pytest.raises(StartError, match=r"THINGJOBS_PASSWORD|access control list"):
            await asyncio.wait_for(Sidecar(settings).run(), 10)
    finally:
        broker.stop()
