"""Whatever is killed, and when (item 5): what devices were told is what is known after."""

import os
import random
import signal
import sys
from pathlib import Path

import pytest

from tests.broker.beside import CONFIG
from tests.end_to_end.crashes.ext4 import Ext4, ext4
from tests.end_to_end.crashes.faulty_launcher import FAULTS
from tests.end_to_end.crashes.forgetful import ForgetfulDisk
from tests.end_to_end.crashes.sites import CrashError, Site, beside, embedded
from tests.end_to_end.crashes.trial import BrokerTrial, Trial

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]

CRASHES = 30
CRASHES_LONG = 1_000
FAULTY = "tests.end_to_end.crashes.faulty_launcher"
WITHOUT_PERSISTENCE = CONFIG.replace("persistence true", "persistence false")
HOW_MANY = [
    CRASHES,
    pytest.param(CRASHES_LONG, marks=[pytest.mark.long, pytest.mark.timeout(7200)]),
]


def seed() -> int:
    """That of CRASH_SEED, or a new one; a failure prints it."""
    return int(os.environ.get("CRASH_SEED") or random.randrange(1_000_000))


def say(text: str) -> None:
    """For whoever runs the tests: pytest shows it with -s, and where one fails."""
    sys.stdout.write(f"{text}\n")


async def nothing_is_lost(trial: Trial, crashes: int) -> None:
    """Crash so often, say what was done, and that nothing was lost."""
    say(f"CRASH_SEED={trial.seed}")
    await trial.run(crashes)
    say(trial.report)
    assert trial.ledger.differences == [], trial.report
    assert trial.fleet.answered > crashes * 20, trial.report
    trial.check_store()


async def is_found_out(trial: Trial) -> None:
    """The service is faulty: that shows as a difference, or as a store that it refuses to start from."""
    try:
        await trial.run(CRASHES)
    except* CrashError as refusals:
        found = str(refusals.exceptions)
    else:
        found = "; ".join(trial.ledger.differences)
    say(f"{trial.report}: {found[:300]}")
    assert found, "the fault was not seen"
    assert trial.crashes, "it has never worked"


@pytest.mark.parametrize("crashes", HOW_MANY)
@pytest.mark.asyncio
async def test_nothing_is_lost_when_the_embedded_service_is_killed(tmp_path: Path, crashes: int) -> None:
    """Promise 1, for accepted replies, notifications and acknowledgments; fifty devices, thirty kills."""
    with embedded(tmp_path, tmp_path / "data") as site:
        await nothing_is_lost(Trial(site, tmp_path / "data", seed()), crashes)


@pytest.mark.parametrize("crashes", HOW_MANY)
@pytest.mark.asyncio
async def test_nothing_is_lost_when_the_service_beside_mosquitto_is_killed(
    tmp_path: Path, crashes: int
) -> None:
    """The same; what Mosquitto has acknowledged it brings to the next life of the service."""
    with beside(tmp_path, tmp_path / "data", CONFIG) as site:
        await nothing_is_lost(Trial(site, tmp_path / "data", seed()), crashes)


@pytest.mark.parametrize("config", [CONFIG, WITHOUT_PERSISTENCE], ids=["persistence", "no persistence"])
@pytest.mark.parametrize("crashes", HOW_MANY)
@pytest.mark.asyncio
async def test_nothing_is_lost_when_mosquitto_is_killed(tmp_path: Path, config: str, crashes: int) -> None:
    """What the service has told holds, whatever the broker has forgotten; now and then both are killed."""
    with beside(tmp_path, tmp_path / "data", config) as site:
        await nothing_is_lost(BrokerTrial(site, tmp_path / "data", seed(), deaf=False), crashes)


def with_power_cuts(site: Site, disk: Ext4, seed: int) -> Trial:
    """A trial in which the service dies because the power is cut."""

    def end() -> None:
        # Both at once, as far as it can see.
        site.program.signal(signal.SIGSTOP)
        disk.cut()
        site.program.kill()
        disk.unmount()
        disk.mount()

    trial = Trial(site, disk.directory / "data", seed)
    trial.end_service = end
    return trial


@pytest.mark.parametrize("crashes", HOW_MANY)
@pytest.mark.asyncio
async def test_nothing_is_lost_when_the_power_is_cut(tmp_path: Path, crashes: int) -> None:
    """A real file system whose page cache is dropped: what was told had been synced."""
    with ext4(tmp_path) as disk, embedded(tmp_path, disk.directory / "data") as site:
        await nothing_is_lost(with_power_cuts(site, disk, seed()), crashes)


def with_a_forgetful_disk(site: Site, disk: ForgetfulDisk, seed: int) -> Trial:
    """A trial on a disk that forgets what was not synced, or half of it."""
    trial = Trial(site, disk.root / "data", seed)
    trial.after_death = disk.cut
    return trial


@pytest.mark.parametrize("crashes", HOW_MANY)
@pytest.mark.asyncio
async def test_nothing_is_lost_when_the_disk_forgets(tmp_path: Path, crashes: int) -> None:
    """Harder than a real one: sectors are lost one by one, and names that were not synced."""
    number = seed()
    disk = ForgetfulDisk(tmp_path, random.Random(number))
    with embedded(tmp_path, disk.root / "data", environ=disk.environ) as site:
        await nothing_is_lost(with_a_forgetful_disk(site, disk, number), crashes)


@pytest.mark.parametrize("fault", ["told_before_it_is_written", "acknowledged_before_it_is_written"])
@pytest.mark.asyncio
async def test_a_service_that_promises_too_early_is_found_out_by_kills(tmp_path: Path, fault: str) -> None:
    """The test of these tests: it finds a difference within as many kills."""
    assert fault in FAULTS
    environ = {"SERVICE_FAULT": fault}
    with embedded(tmp_path, tmp_path / "data", module=FAULTY, environ=environ) as site:
        await is_found_out(Trial(site, tmp_path / "data", seed()))


@pytest.mark.parametrize("fault", ["content_is_not_synced", "names_are_not_synced"])
@pytest.mark.asyncio
async def test_a_service_that_does_not_sync_is_found_out_by_a_disk_that_forgets(
    tmp_path: Path, fault: str
) -> None:
    """As above: kills alone would not show it, the page cache survives them."""
    number = seed()
    disk = ForgetfulDisk(tmp_path, random.Random(number))
    environ = {"SERVICE_FAULT": fault, **disk.environ}
    with embedded(tmp_path, disk.root / "data", module=FAULTY, environ=environ) as site:
        trial = with_a_forgetful_disk(site, disk, number)
        await is_found_out(trial)


@pytest.mark.asyncio
async def test_a_service_that_does_not_sync_is_found_out_by_power_cuts(tmp_path: Path) -> None:
    """The same on the real file system."""
    environ = {"SERVICE_FAULT": "content_is_not_synced"}
    with (
        ext4(tmp_path) as disk,
        embedded(tmp_path, disk.directory / "data", module=FAULTY, environ=environ) as site,
    ):
        await is_found_out(with_power_cuts(site, disk, seed()))
