"""The driver of retention: what it forgets by, and that it waits for the disk."""

import asyncio
import errno

import pytest

from tests.broker.core.world import picture
from tests.broker.rig import Rig
from tests.broker.test_disk_trouble import on_disk
from thingjobs_broker import retention as retention_module
from thingjobs_broker.core import retention
from thingjobs_broker.retention import DAY_MS, Retention


@pytest.mark.asyncio
async def test_after_so_many_days_it_is_gone_from_the_disk_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Item 6: not a day before, in slices, and the next snapshot is smaller."""
    monkeypatch.setattr(retention_module, "SLICE_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(retention, "FORGET_SLICE", 7)
    things = [f"T{number}" for number in range(40)]
    async with Rig() as rig:
        await rig.create_job("J1", *things)
        for thing in things:
            await rig.update(thing, "J1", "SUCCEEDED", statusDetails={"result": "x" * 100})
        await rig.snapshotter.take()
        before_bytes = rig.store.snapshot_bytes
        driver = Retention(rig.runner, 730)
        rig.clock.now += 730 * DAY_MS
        await driver.forget()
        assert list(rig.state.jobs) == ["J1"]
        rig.clock.now += 1
        await driver.forget()
        assert rig.state.jobs == {}
        await rig.snapshotter.take()
        assert rig.store.snapshot_bytes < before_bytes / 2
        assert picture(on_disk(rig.disk)) == picture(rig.state)


@pytest.mark.asyncio
async def test_it_runs_by_itself_and_waits_while_nothing_can_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Forgetting is a change like any other."""
    monkeypatch.setattr(retention_module, "SLICE_PAUSE_SECONDS", 0.001)
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        await rig.update("A", "J1", "SUCCEEDED")
        rig.clock.now += 2 * DAY_MS
        rig.disk.fail("sync_data", errno.EIO)
        rig.disk.fail("read", errno.EIO, times=30)
        await rig.control("CreateThing", thingName="B")
        driver = Retention(rig.runner, 1)
        driver.start()
        await asyncio.sleep(0.01)
        await rig.until_writable()
        async with asyncio.timeout(5):
            while rig.state.jobs:
                await asyncio.sleep(0.001)
        await driver.close()
