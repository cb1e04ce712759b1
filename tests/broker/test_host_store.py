"""The host and its store: a stop takes a snapshot, a fault does not, and the settings reach their places."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.broker.core.world import DOCUMENT
from thingjobs_broker.config import ServiceSettings, SnapshotSettings
from thingjobs_broker.core.outcome import Message
from thingjobs_broker.host import ServiceHost
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.snapshot import positions


class Silent:
    """A publisher to nobody."""

    def publish(self, message: Message) -> None:
        """Nobody is subscribed."""

    def flush(self) -> None:
        """Nothing was gathered."""


async def started(data_dir: Path, **settings: object) -> ServiceHost:
    """A host at work, with one thing and one job."""
    host = ServiceHost(ServiceSettings(data_dir=str(data_dir), **settings), lambda _: None)  # type: ignore[arg-type]
    await host.open()
    host.start(Silent())
    await ask(host, "CreateThing", thingName="A")
    await ask(host, "CreateJob", jobId="J1", targets=["A"], document=DOCUMENT)
    return host


async def ask(host: ServiceHost, operation: str, **members: object) -> None:
    """Returns when the operator's request is answered."""
    answered = asyncio.Event()
    payload = json.dumps(members).encode()
    host.receive(f"$aws/control/op/{operation}", payload, "operator", answered.set)
    async with asyncio.timeout(5):
        await answered.wait()


async def stop(host: ServiceHost) -> None:
    await host.finish()
    await host.release()


@pytest.mark.asyncio
async def test_a_clean_stop_takes_a_snapshot_of_everything(tmp_path: Path) -> None:
    """Item 1: the next start reads it, and no journal."""
    host = await started(tmp_path / "data")
    await stop(host)
    (position,) = positions(OsFiles(), tmp_path / "data" / "snapshot")
    again = ServiceHost(ServiceSettings(data_dir=str(tmp_path / "data")), lambda _: None)
    await again.open()
    assert again._store is not None
    assert (again._store.position, again._store.replayed_bytes) == (position, 0)
    assert list(again._state.jobs) == ["J1"]
    assert list(again._state.things["A"].pending) == ["J1"]
    await stop(again)


@pytest.mark.asyncio
async def test_after_a_fault_no_snapshot_is_taken(tmp_path: Path) -> None:
    """The state cannot be trusted then; the journal can."""
    host = await started(tmp_path / "data")
    assert host._snapshotter is not None
    host.fail(RuntimeError("a fault in the rules"))
    await asyncio.sleep(0)
    assert host._snapshotter._task is not None
    assert host._snapshotter._task.cancelling()
    await stop(host)
    assert positions(OsFiles(), tmp_path / "data" / "snapshot") == []
    again = ServiceHost(ServiceSettings(data_dir=str(tmp_path / "data")), lambda _: None)
    await again.open()
    assert list(again._state.jobs) == ["J1"]
    await stop(again)


@pytest.mark.asyncio
async def test_a_service_that_never_began_leaves_no_snapshot(tmp_path: Path) -> None:
    """A start that fails after the recovery changes nothing."""
    host = ServiceHost(ServiceSettings(data_dir=str(tmp_path / "data")), lambda _: None)
    await host.open()
    await stop(host)
    assert positions(OsFiles(), tmp_path / "data" / "snapshot") == []


@pytest.mark.asyncio
async def test_snapshots_are_taken_while_it_works_as_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many bytes of journal."""
    monkeypatch.setattr("thingjobs_broker.snapshotter.CHECK_SECONDS", 0.01)
    host = await started(tmp_path / "data", snapshot=SnapshotSettings(journal_bytes=1024))
    assert positions(OsFiles(), tmp_path / "data" / "snapshot") == []
    for number in range(30):
        await ask(host, "CreateThing", thingName=f"T{number}")
    async with asyncio.timeout(5):
        while not positions(OsFiles(), tmp_path / "data" / "snapshot"):
            await asyncio.sleep(0.01)
    await stop(host)


@pytest.mark.asyncio
async def test_with_too_large_a_reserve_changes_are_refused_from_the_start(tmp_path: Path) -> None:
    """The setting `disk_reserve_bytes` reaches the runner."""
    settings = ServiceSettings(data_dir=str(tmp_path / "data"), disk_reserve_bytes=1 << 60)
    host = ServiceHost(settings, lambda _: None)
    await host.open()
    host.start(Silent())
    await ask(host, "CreateThing", thingName="A")
    assert host.runner is not None
    assert host.runner.state is not None
    assert host.runner.state.things == {}
    await stop(host)
