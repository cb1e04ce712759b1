"""A disk that is full or refuses: changes are refused, reads go on from what is durable, and it heals by
itself.
"""

import asyncio
import errno
import gc
import os
import subprocess
import weakref
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.broker.core.world import MINUTE_MS, check_consistency, picture
from tests.broker.rig import Rig, SharedDisk
from tests.broker.store.faults import SimulatedDisk
from thingjobs_broker.core.state import State
from thingjobs_broker.store.errors import JournalFailed
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.store import Store

CHANGES = ("write", "sync", "sync_data", "truncate", "rename", "remove", "create", "sync_directory")


def on_disk(disk: SimulatedDisk) -> State:
    """What the next start would recover."""
    return Store(disk, disk.root).load()


async def check_that_changes_are_refused(rig: Rig) -> None:
    """InternalError for devices, ServiceUnavailableException for operators, and nothing has changed."""
    before = picture(rig.state)
    assert (await rig.update("A", "J1", "SUCCEEDED")).code == "InternalError"
    assert (await rig.device("A", "start-next")).code == "InternalError"
    # A thing that is not registered yet would become one.
    assert (await rig.device("new", "get")).code == "InternalError"
    assert (await rig.control("CreateThing", thingName="new")).code == "ServiceUnavailableException"
    assert (await rig.control("CancelJob", jobId="J1")).code == "ServiceUnavailableException"
    # What is refused anyway is refused for its own reason.
    assert (await rig.update("A", "J1", "CANCELED")).code == "InvalidStateTransition"
    assert (await rig.control("DescribeJob", jobId="J9")).code == "ResourceNotFoundException"
    assert picture(rig.state) == before


async def check_that_reads_go_on(rig: Rig) -> None:
    """Of a job J1 that is queued on A."""
    assert (await rig.device("A", "get")).body["queuedJobs"][0]["jobId"] == "J1"
    assert (await rig.device("A", "J1/get")).body["execution"]["status"] == "QUEUED"
    assert (await rig.control("DescribeJob", jobId="J1")).body["job"]["status"] == "IN_PROGRESS"


@pytest.mark.asyncio
async def test_below_the_reserve_changes_are_refused_and_reads_go_on() -> None:
    """Item 3; when there is room again, so are changes, without a restart."""
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        used = (1 << 40) - rig.disk.free_bytes(rig.disk.root)
        rig.disk.capacity_bytes = used + rig.disk._used_bytes() + 9_999
        # This one still fits, and shows that the next would not.
        assert (await rig.control("CreateThing", thingName="B")).code is None
        assert not rig.runner.is_writable
        await check_that_changes_are_refused(rig)
        await check_that_reads_go_on(rig)
        rig.disk.capacity_bytes = None
        await rig.until_writable()
        assert (await rig.update("A", "J1", "SUCCEEDED")).code is None
        assert picture(on_disk(rig.disk)) == picture(rig.state)


@pytest.mark.asyncio
async def test_a_start_on_a_full_disk_serves_reads() -> None:
    """What fell due while the service was down fires once there is room."""
    disk = SharedDisk()
    async with Rig(disk) as rig:
        await rig.create_job("J1", "A", "B")
        await rig.device("B", "start-next", stepTimeoutInMinutes=1)
        await rig.control("CreateThing", thingName="C")
    disk.capacity_bytes = disk._used_bytes() + 5_000
    async with Rig(disk) as rig:
        rig.clock.now += 2 * MINUTE_MS
        rig.runner.clock_moved()
        await check_that_changes_are_refused(rig)
        await check_that_reads_go_on(rig)
        assert (await rig.device("B", "J1/get")).body["execution"]["status"] == "IN_PROGRESS"
        disk.capacity_bytes = None
        await rig.until_writable()
        assert (await rig.device("B", "get")).body["inProgressJobs"] == []
        assert rig.state.last_start is not None
        assert rig.state.last_start.at_ms == rig.clock.now


@pytest.mark.asyncio
@pytest.mark.parametrize("operation", ["write", "sync_data"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
async def test_after_a_failed_append_the_service_goes_on_from_what_is_durable(
    operation: str, error: int
) -> None:
    """Item 3: who waited for it is refused, and it never happened, neither here nor after a power cut."""
    async with Rig() as rig:
        await rig.create_job("J1", "A", "B")
        before = picture(rig.state)
        rig.disk.fail(operation, error)
        rig.disk.fail("truncate", error)
        read_before = rig.ask("$aws/things/A/jobs/J1/get", {})
        written = rig.ask("$aws/things/A/jobs/start-next", {})
        read_after = rig.ask("$aws/things/A/jobs/J1/get", {})
        assert (await written).code == "InternalError"
        # It has seen what was lost; the one before has not.
        assert (await read_after).code == "InternalError"
        assert (await read_before).body["execution"]["status"] == "QUEUED"
        await rig.until_writable()
        recovered = picture(rig.state)
        assert recovered | {"last_at_ms": 0} == before | {"last_at_ms": 0}
        for seed in range(5):
            after_power_cut = on_disk(rig.disk.after_power_cut(Random(seed)))
            assert after_power_cut.things["A"].executions["J1"].version_number == 1
        answer = await rig.device("A", "start-next")
        assert answer.body["execution"]["versionNumber"] == 2
        assert picture(on_disk(rig.disk)) == picture(rig.state)
        check_consistency(rig.state)


@pytest.mark.asyncio
async def test_the_state_that_was_ahead_of_the_disk_goes_though_the_collector_leaves_it_alone() -> None:
    """Or a disk that fails now and then fills the memory: see `collector`."""
    async with Rig() as rig:
        await rig.create_job("J1", "A", "B")
        left = [weakref.ref(one) for one in (rig.state, rig.runner._service)]
        gc.collect()
        gc.freeze()
        try:
            rig.disk.fail("sync_data", errno.EIO)
            assert (await rig.update("A", "J1", "SUCCEEDED")).code == "InternalError"
            await rig.until_writable()
            await rig.control("DescribeJob", jobId="J1")
            gc.collect()
            assert not [one() for one in left if one() is not None]
        finally:
            gc.unfreeze()


@pytest.mark.asyncio
async def test_nothing_is_said_about_what_was_lost() -> None:
    """No notification, no event, no accepted reply (promise 4, durable before visible)."""
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        rig.disk.fail("sync_data", errno.EIO)
        begin = len(rig.published)
        assert (await rig.update("A", "J1", "SUCCEEDED")).code == "InternalError"
        await rig.until_writable()
        await rig.control("DescribeJob", jobId="J1")
        endings = [message.topic.rpartition("/")[2] for message in rig.published[begin:]]
        assert endings == ["rejected", "accepted"]


@pytest.mark.asyncio
async def test_while_the_disk_refuses_all_writing_reads_go_on() -> None:
    """EROFS: the journal cannot even be opened for writing; it is tried again until it can."""
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        for operation in CHANGES:
            rig.disk.fail(operation, errno.EROFS, times=1_000_000)
        assert (await rig.control("CreateThing", thingName="B")).code == "ServiceUnavailableException"
        async with asyncio.timeout(30):
            while rig.runner.state is None:
                await asyncio.sleep(0.001)
        await check_that_changes_are_refused(rig)
        await check_that_reads_go_on(rig)
        assert "B" not in rig.state.things
        rig.disk.faults.clear()
        await rig.until_writable()
        assert (await rig.control("CreateThing", thingName="B")).code is None
        assert picture(on_disk(rig.disk)) == picture(rig.state)


@pytest.mark.asyncio
async def test_while_the_disk_cannot_be_read_everything_is_refused() -> None:
    """There is no durable state to answer from; each request still gets its one answer."""
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        for operation in (*CHANGES, "read", "list_names"):
            rig.disk.fail(operation, errno.EIO, times=1_000_000)
        assert (await rig.update("A", "J1", "SUCCEEDED")).code == "InternalError"
        assert (await rig.device("A", "get")).code == "InternalError"
        assert (await rig.control("DescribeJob", jobId="J1")).code == "ServiceUnavailableException"
        rig.disk.faults.clear()
        await rig.until_writable()
        await check_that_reads_go_on(rig)


@pytest.mark.asyncio
async def test_timers_and_retention_wait_until_changes_are_taken() -> None:
    """A timer that falls due meanwhile is neither lost nor told before it is durable (promise 5)."""
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        await rig.device("A", "start-next", stepTimeoutInMinutes=1)
        for operation in CHANGES:
            rig.disk.fail(operation, errno.EIO, times=1_000_000)
        await rig.control("CreateThing", thingName="B")
        rig.clock.now += 2 * MINUTE_MS
        rig.runner.clock_moved()
        async with asyncio.timeout(30):
            while rig.runner.state is None:
                await asyncio.sleep(0.001)
        shown = (await rig.device("A", "J1/get")).body["execution"]
        assert (shown["status"], shown["approximateSecondsBeforeTimedOut"]) == ("IN_PROGRESS", 0)
        rig.disk.faults.clear()
        await rig.until_writable()
        status = (await rig.control("DescribeJobExecution", jobId="J1", thingName="A")).body["execution"]
        assert status["status"] == "TIMED_OUT"


@pytest.mark.asyncio
async def test_a_stop_in_the_middle_of_the_trouble_leaves_what_is_durable() -> None:
    """No snapshot is taken of a state that is ahead of the disk."""
    disk = SharedDisk()
    async with Rig(disk) as rig:
        await rig.create_job("J1", "A")
        durable = picture(rig.state)
        for operation in (*CHANGES, "read"):
            disk.fail(operation, errno.EIO, times=1_000_000)
        rig.ask("$aws/things/A/jobs/start-next", {})
    assert rig.last_state is None
    disk.faults.clear()
    assert picture(on_disk(disk)) == durable


@pytest.mark.asyncio
async def test_damage_found_while_recovering_stops_the_service() -> None:
    """Rather no service than one that has forgotten."""
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        rig.disk.corrupt(rig.disk.root / "journal" / "00000000000000000001.log", 60)
        rig.disk.fail("sync_data", errno.EIO)
        rig.ask("$aws/things/A/jobs/start-next", {})
        async with asyncio.timeout(30):
            while not rig.failures:
                await asyncio.sleep(0.001)
    assert "thingjobs store repair" in str(rig.failures[0])
    assert not isinstance(rig.failures[0], JournalFailed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MiB; only root can make one."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(mounted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount program")
    if done.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("reserve_bytes", [0, 1024 * 1024])
async def test_a_real_disk_that_fills_up_and_is_emptied_again(small_disk: Path, reserve_bytes: int) -> None:
    """Without a reserve appends fail with ENOSPC; with one nothing ever fails. Either way it heals."""
    filler = small_disk / "filler"
    store = Store(OsFiles(), small_disk, reserve_bytes=reserve_bytes)
    async with Rig(store=store) as rig:
        await rig.create_job("J1", "A")
        filler.write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096 - reserve_bytes - 8192))
        things, codes = 0, set()
        while "ServiceUnavailableException" not in codes:
            answer = await rig.control(
                "CreateThing", thingName=f"T{things}", attributePayload={"attributes": {"a": "x" * 800}}
            )
            codes.add(answer.code)
            things += answer.code is None
        assert things
        async with asyncio.timeout(30):
            while rig.runner.state is None:
                await asyncio.sleep(0.001)
        await check_that_reads_go_on(rig)
        filler.unlink()
        await rig.until_writable()
        assert (await rig.update("A", "J1", "SUCCEEDED")).code is None
        assert len(rig.state.things) == things + 1
        final = picture(rig.state)
    assert picture(Store(OsFiles(), small_disk).load()) == final


@pytest.mark.asyncio
async def test_a_correction_of_the_clock_that_is_lost_with_the_disk_is_made_again() -> None:
    """Architecture, "Time": the clock has gone forward and cannot go back; nothing may time out early."""
    async with Rig() as rig:
        await rig.create_job("J1", "A")
        await rig.device("A", "start-next", stepTimeoutInMinutes=1)
        deadline_ms = rig.state.things["A"].executions["J1"].deadline_ms
        rig.disk.fail("write", errno.EIO)
        rig.clock.correction_ms = 60 * MINUTE_MS
        rig.runner._follow_clock()
        assert (await rig.device("A", "get")).code == "InternalError"
        await rig.until_writable()
        assert (await rig.device("A", "get")).body["inProgressJobs"]
        assert rig.state.things["A"].executions["J1"].deadline_ms == deadline_ms + 60 * MINUTE_MS
        assert picture(on_disk(rig.disk)) == picture(rig.state)
