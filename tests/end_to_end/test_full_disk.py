"""The disk of a real service fills up and is emptied again: nothing half done, and no restart is needed."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.beside import Peer, base, create_job, peer
from tests.end_to_end.harness import running_service

pytestmark = pytest.mark.broker

DISK_BYTES = 16 * 1024 * 1024
THING = "press-7"
UPDATE = f"{base(THING)}/update/update"
UPDATES_MAX = 500
"""Of these the journal has room for fewer when the disk is full: a few of its last page are left."""
MEND_SECONDS_MAX = 15.0


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """The data directory of a service in `tmp_path`, on a file system of 16 MiB in memory."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("needs root, and a machine that lets us mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(data_dir: Path, left_bytes: int) -> None:
    """Leave so much of the disk."""
    disk = os.statvfs(data_dir)
    (data_dir / "filler").write_bytes(bytes(disk.f_bavail * disk.f_frsize - left_bytes))


async def update(device: Peer, **members: Any) -> tuple[str, dict[str, Any]]:
    """Report progress."""
    # The journal has room for some hundred KiB that it wrote ahead.
    details = {f"log{number}": "x" * 1024 for number in range(4)}
    body = {"status": "IN_PROGRESS", "includeJobExecutionState": True, "statusDetails": details, **members}
    return await device.ask(UPDATE, body)


async def until_refused(device: Peer) -> int:
    """Report progress until it is refused for want of space; the last version that was accepted."""
    version = 0
    for _ in range(UPDATES_MAX):
        end, answer = await update(device)
        if end == "rejected":
            assert answer["code"] == "InternalError"
            return version
        version = answer["executionState"]["versionNumber"]
    raise AssertionError("the disk never filled up")


async def until_accepted(device: Peer, version: int) -> None:
    """Report progress until it is accepted again, which makes the version after the last accepted."""
    async with asyncio.timeout(MEND_SECONDS_MAX):
        while (answer := await update(device))[0] == "rejected":
            assert answer[1]["code"] == "InternalError"
            await asyncio.sleep(0.1)
    assert answer[1]["executionState"]["versionNumber"] == version + 1


async def shown_version(device: Peer) -> int:
    """What the device is shown; while the state is read again after a failed append, nothing is."""
    async with asyncio.timeout(MEND_SECONDS_MAX):
        while (answer := await device.ask(f"{base(THING)}/update/get"))[0] == "rejected":
            assert answer[1]["code"] == "InternalError"
            await asyncio.sleep(0.01)
    found: int = answer[1]["execution"]["versionNumber"]
    return found


@pytest.mark.parametrize("reserve_bytes", [0, 4 * 1024 * 1024], ids=["no reserve", "reserve"])
@pytest.mark.asyncio
async def test_a_full_disk_refuses_changes_until_there_is_room(
    tmp_path: Path, data_dir: Path, reserve_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Item 3: InternalError while reads go on; twice; and what was accepted survives a kill in the middle."""
    monkeypatch.setenv("THINGJOBS_DISK_RESERVE_BYTES", str(reserve_bytes))
    monkeypatch.setenv("THINGJOBS_LIMITS_REQUESTS_PER_SECOND", "0")
    with running_service(tmp_path) as service:
        async with peer(service.port, "$aws/control/ada/#") as operator:
            await create_job(operator, "update", THING)
        for ending in ("room", "kill"):
            async with peer(service.port, f"{base(THING)}/#") as device:
                await update(device)
                fill(data_dir, reserve_bytes // 2)
                version = await until_refused(device)
                assert await shown_version(device) == version
                shown = await asyncio.to_thread(service.ask, "job", "show", "update")
                assert shown["executions"][0]["versionNumber"] == version
                refused = await asyncio.to_thread(service.thingjobs, "thing", "create", "other", check=False)
                assert refused.returncode != 0
                assert refused.stderr.count("\n") == 1
                if ending == "kill":
                    break
                (data_dir / "filler").unlink()
                await until_accepted(device, version)
        service.kill()
        # It starts on the full disk, too, and serves what it knows.
        service.start()
        async with peer(service.port, f"{base(THING)}/#") as device:
            assert await shown_version(device) == version
            assert (await update(device))[1].get("code") == "InternalError"
            (data_dir / "filler").unlink()
            await until_accepted(device, version)
