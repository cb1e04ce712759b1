"""Snapshots while the service works: when they are due, what they hold, and what stops them."""

import asyncio
import errno
import gc
import threading
import weakref
from random import Random

import pytest

from tests.broker.core.world import check_consistency, picture
from tests.broker.rig import Rig, SharedDisk
from tests.broker.test_disk_trouble import on_disk
from thingjobs_broker import snapshotter as snapshotter_module
from thingjobs_broker.core.records import ClockStepped
from thingjobs_broker.core.state import State
from thingjobs_broker.snapshotter import Policy, Snapshotter
from thingjobs_broker.store import capture, journal
from thingjobs_broker.store.snapshot import positions


def snapshots(rig: Rig) -> list[int]:
    """The positions of the snapshots on the disk."""
    return positions(rig.disk, rig.disk.root / "snapshot")


def leftovers(rig: Rig) -> list[str]:
    """What a snapshot that was not finished left behind."""
    return [path.name for path in list(rig.disk._seen) if path.suffix == ".tmp"]


@pytest.mark.asyncio
async def test_a_snapshot_taken_under_load_is_the_state_at_its_position(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Item 1: requests go on meanwhile, and recovery from it gives the live state."""
    monkeypatch.setattr(capture, "SLICE_ROWS", 2)
    random = Random(4)
    async with Rig() as rig:
        things = [f"T{number}" for number in range(20)]
        await rig.create_job("J1", *things)
        await rig.create_job("J2", *things)
        taking = asyncio.ensure_future(rig.snapshotter.take())
        handled = 0
        while not taking.done():
            thing, job = random.choice(things), random.choice(["J1", "J2"])
            await rig.update(thing, job, random.choice(["IN_PROGRESS", "SUCCEEDED", "FAILED"]))
            handled += 1
        assert taking.result()
        assert handled > 20, "the snapshot did not let requests through"
        assert rig.store.snapshot_bytes > 0
        (position,) = snapshots(rig)
        assert position < rig.runner.commits.position
        # Requests went on meanwhile, but the journal is parted exactly there.
        assert rig.disk.list_names(rig.disk.root / "journal")[-1] == f"{position + 1:020d}.log"
        recovered = on_disk(rig.disk)
        assert picture(recovered) == picture(rig.state)
        check_consistency(recovered)
        assert rig.state.before_apply is None


@pytest.mark.asyncio
async def test_a_snapshot_is_kept_back_until_the_journal_holds_what_it_holds() -> None:
    """Otherwise a power cut would leave a snapshot of a state that never was."""
    may_sync = threading.Event()

    class SlowDisk(SharedDisk):
        def sync(self, operation: str, path: object, inode: object) -> None:
            if operation == "sync_data" and str(path).endswith(".log"):
                assert may_sync.wait(5)
            super().sync(operation, path, inode)  # type: ignore[arg-type]

    may_sync.set()
    async with Rig(SlowDisk()) as rig:
        await rig.create_job("J1", "A")
        may_sync.clear()
        update = rig.ask("$aws/things/A/jobs/start-next", {})
        taking = asyncio.ensure_future(rig.snapshotter.take())
        async with asyncio.timeout(30):
            while not rig.runner.commits._waiters:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert not taking.done()
        assert snapshots(rig) == []
        may_sync.set()
        assert await taking
        assert (await update).code is None
        assert snapshots(rig) == [rig.runner.commits.position]


@pytest.mark.asyncio
async def test_a_snapshot_of_what_was_lost_is_dropped() -> None:
    """The append that it waits for fails."""
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        rig.disk.fail("sync_data", errno.EIO, file="*.log")
        rig.ask("$aws/things/A/jobs/start-next", {})
        assert not await rig.snapshotter.take()
        await rig.until_writable()
        assert (leftovers(rig), snapshots(rig)) == ([], [])
        assert await rig.snapshotter.take()
        assert picture(on_disk(rig.disk)) == picture(rig.state)


@pytest.mark.asyncio
@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename"])
async def test_a_snapshot_that_fails_is_tried_again_later(operation: str) -> None:
    """And nobody but the log notices."""
    now = 0.0
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        taker = Snapshotter(rig.runner, rig.store, Policy(1, 1000.0), lambda: now)
        assert taker.is_due()
        rig.disk.fail(operation, errno.ENOSPC, file="*.tmp")
        assert not await taker.take()
        assert (leftovers(rig), snapshots(rig)) == ([], [])
        assert rig.state.before_apply is None
        assert (await rig.device("A", "start-next")).code is None
        now = 59.9
        assert not taker.is_due()
        now = 60.0
        assert taker.is_due()
        assert await taker.take()
        assert picture(on_disk(rig.disk)) == picture(rig.state)
        await taker.close()


@pytest.mark.asyncio
async def test_two_snapshots_are_kept_and_no_journal_that_neither_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Item 1: what is useless goes once the new one is durable."""
    monkeypatch.setattr(journal, "SEGMENT_BYTES_MAX", 1)
    monkeypatch.setitem(journal.Journal.open.__func__.__kwdefaults__, "segment_bytes_max", 1)  # type: ignore[attr-defined]
    async with Rig() as rig:
        taken = []
        for number in range(4):
            await rig.create_job(f"J{number}", "A")
            assert await rig.snapshotter.take()
            taken.append(rig.runner.commits.position)
        assert snapshots(rig) == taken[-2:]
        first = min(rig.disk.list_names(rig.disk.root / "journal"))
        assert int(first[:20]) == taken[-2] + 1
        assert picture(on_disk(rig.disk)) == picture(rig.state)


@pytest.mark.asyncio
async def test_a_step_of_the_clock_drops_it() -> None:
    """The next one is as good."""
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        taking = asyncio.ensure_future(rig.snapshotter.take())
        await asyncio.sleep(0)
        rig.state.apply(ClockStepped(rig.clock.now, 1000))
        assert not await taking
        assert leftovers(rig) == []


@pytest.mark.asyncio
async def test_a_snapshot_is_due_by_bytes_and_by_time() -> None:
    """After so much journal, counted from where the last one began; or after so long, if there is any."""
    now = 0.0
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        written = rig.runner.commits.entry_bytes
        by_bytes = Snapshotter(rig.runner, rig.store, Policy(written + 1, 1e9), lambda: now)
        by_time = Snapshotter(rig.runner, rig.store, Policy(10**9, 100.0), lambda: now)
        assert not by_bytes.is_due()
        await rig.device("A", "start-next")
        assert by_bytes.is_due()
        now = 99.9
        assert not by_time.is_due()
        now = 100.0
        assert by_time.is_due()
        for taker in (by_bytes, by_time):
            assert await taker.take()
            assert not taker.is_due()
        now = 1000.0
        assert not by_time.is_due(), "nothing has changed"
        # A large state is worth a longer journal.
        await rig.update("A", "J1", "SUCCEEDED")
        rig.store.snapshot_bytes = 10**6
        assert not Snapshotter(rig.runner, rig.store, Policy(1, 1e9), lambda: now).is_due()
        await by_bytes.close()
        await by_time.close()


@pytest.mark.asyncio
async def test_without_room_none_is_begun_and_in_need_the_reserve_is_used() -> None:
    """A snapshot must not bring the trouble about; where it is there, it makes room."""
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        rig.disk.capacity_bytes = rig.disk._used_bytes() + 1_311_000
        assert not await rig.snapshotter.take()
        assert rig.disk.log[-1][0] != "create"
        rig.disk.capacity_bytes = rig.disk._used_bytes() + 1_311_000
        rig.runner._service.read_only = True  # type: ignore[union-attr]
        assert await rig.snapshotter.take()


@pytest.mark.asyncio
async def test_a_snapshot_that_fails_does_not_keep_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the collector leaves alone what there was when it began."""
    captures: list[weakref.ref[capture.Capture]] = []

    def begin(state: State) -> capture.Capture:
        begun = capture.Capture(state)
        captures.append(weakref.ref(begun))
        gc.freeze()
        return begun

    monkeypatch.setattr(snapshotter_module, "Capture", begin)
    try:
        async with Rig() as rig:
            await rig.create_job("J1", "A")
            rig.disk.fail("write", errno.ENOSPC, file="*.tmp")
            assert not await rig.snapshotter.take()
            gc.collect()
            assert [one() for one in captures] == [None]
    finally:
        gc.unfreeze()


@pytest.mark.asyncio
async def test_it_watches_by_itself_and_stops_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop in the middle of one leaves nothing half written."""
    monkeypatch.setattr(snapshotter_module, "CHECK_SECONDS", 0.001)
    monkeypatch.setattr(capture, "SLICE_ROWS", 2)
    async with Rig() as rig:
        await rig.create_job("J1", *(f"T{number}" for number in range(50)))
        rig.snapshotter.start()
        async with asyncio.timeout(30):
            while not snapshots(rig):
                await asyncio.sleep(0.001)
        await rig.device("T1", "start-next")
        async with asyncio.timeout(30):
            while not leftovers(rig):
                await asyncio.sleep(0)
        await rig.snapshotter.close()
        assert leftovers(rig) == []
        assert rig.state.before_apply is None
