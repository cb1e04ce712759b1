"""Each check of the data directory, on one that is broken in just that way."""

import os
from pathlib import Path

import pytest

from thingjobs_broker.cli.broker_address import BrokerAddress
from thingjobs_broker.doctor import disk
from thingjobs_broker.doctor.case import Case
from thingjobs_broker.doctor.findings import NotChecked, Problem
from thingjobs_broker.store.lock import DataDirectoryLock, prepare_data_directory


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory as a service leaves it."""
    path = tmp_path / "data"
    prepare_data_directory(path)
    DataDirectoryLock(path).release()
    (path / "journal").mkdir(mode=0o700)
    (path / "journal" / "1.log").touch(mode=0o600)
    return path


def case(path: Path | None) -> Case:
    return Case(BrokerAddress("127.0.0.1", 1883), data_dir=path)


@pytest.mark.asyncio
async def test_a_directory_that_is_well(data_dir: Path) -> None:
    """Held by a service, nobody else gets at it, and there is room."""
    with DataDirectoryLock(data_dir):
        assert await disk.directory(case(data_dir)) == f"{data_dir} is a data directory"
        assert "nobody else gets at it" in await disk.modes(case(data_dir))
        assert await disk.lock(case(data_dir)) == f"process {os.getpid()} holds it"
        assert "MiB are free" in await disk.space(case(data_dir))


@pytest.mark.asyncio
async def test_without_a_directory_nothing_is_looked_at() -> None:
    """The service may run on another machine."""
    with pytest.raises(NotChecked, match="--data-dir DIR"):
        await disk.directory(case(None))


@pytest.mark.asyncio
@pytest.mark.parametrize(("name", "mode"), [("", 0o750), ("journal", 0o701), ("journal/1.log", 0o640)])
async def test_what_others_get_at_is_told(data_dir: Path, name: str, mode: int) -> None:
    """Path, mode and the command that helps."""
    (data_dir / name).chmod(mode)
    with pytest.raises(Problem) as problem:
        await disk.modes(case(data_dir))
    assert problem.value.message == f"{data_dir / name} has mode {mode:04o}: others get at the jobs"
    assert problem.value.fix == f"chmod -R go= {data_dir}"


@pytest.mark.asyncio
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_a_file_of_somebody_else_is_told(data_dir: Path) -> None:
    """As one that root has left behind in the service's directory."""
    os.chown(data_dir / "journal" / "1.log", 12345, -1)
    with pytest.raises(Problem, match=r"1\.log belongs to user 12345, but the directory to root"):
        await disk.modes(case(data_dir))


@pytest.mark.asyncio
async def test_a_file_that_goes_meanwhile_is_no_failure(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that runs removes segments and snapshots it no longer needs."""
    gone = data_dir / "journal" / "0.log"
    monkeypatch.setattr(Path, "rglob", lambda *_: iter([gone, data_dir / "journal" / "1.log"]))
    assert "nobody else gets at it" in await disk.modes(case(data_dir))


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["missing", "file", "other"])
async def test_what_is_no_data_directory_is_told(tmp_path: Path, kind: str) -> None:
    """Missing, a file, or a directory that no service has ever used."""
    path = tmp_path / "data"
    if kind == "file":
        path.touch()
    if kind == "other":
        path.mkdir(mode=0o700)
    with pytest.raises(Problem) as problem:
        await disk.directory(case(path))
    assert str(path) in problem.value.message
    assert "--data-dir" in problem.value.fix


@pytest.mark.asyncio
async def test_a_directory_that_no_service_holds_is_told(data_dir: Path) -> None:
    """The service runs on another one, or not at all; asking takes no lock."""
    with pytest.raises(Problem, match="no service holds the directory"):
        await disk.lock(case(data_dir))
    with DataDirectoryLock(data_dir):
        pass


@pytest.mark.asyncio
async def test_a_system_that_does_not_show_its_locks(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no failure of the set-up."""
    monkeypatch.setattr(disk, "LOCKS", data_dir / "nothing")
    with pytest.raises(NotChecked, match="this system has no"):
        await disk.lock(case(data_dir))


@pytest.mark.asyncio
async def test_a_full_disk_is_told(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the service refuses changes."""
    monkeypatch.setattr(disk, "free_bytes_of", lambda _: 100 * 1024 * 1024)
    with pytest.raises(Problem, match="100 MiB are free; at disk_reserve_bytes") as problem:
        await disk.space(case(data_dir))
    assert "make room" in problem.value.fix
