"""The state directory: old or new checkpoint after a power cut, nothing in between; one agent at a time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingjobs_agent import checkpoint as checkpoint_module
from thingjobs_agent.checkpoint import Store
from thingjobs_agent.errors import AlreadyRunningError, StateDirectoryError
from thingjobs_agent.work import Checkpoint, Phase, Report, decode_checkpoint, encode_checkpoint
from thingjobs_protocol.status import JobExecutionStatus

RUNNING = Checkpoint(
    "J1", 2, 1_700_000_000, Phase.RUNNING, step_index=1, restarts=1, job_document=msgspec.Raw(b'{"a": 1}')
)
REPORTING = Checkpoint(
    "J1", 2, 1_700_000_000, Phase.REPORTING, report=Report(JobExecutionStatus.FAILED, {"reason": "é"})
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "state")
    made.prepare()
    return made


def test_nothing_is_stored_at_first(store: Store) -> None:
    """A fresh device."""
    assert store.load().checkpoint is None
    assert store.load().fault is None


@pytest.mark.parametrize("checkpoint", [RUNNING, REPORTING], ids=["running", "reporting"])
def test_stored_checkpoint_is_loaded(store: Store, checkpoint: Checkpoint) -> None:
    """What went in comes out."""
    store.store(checkpoint)
    loaded = store.load().checkpoint
    assert loaded is not None
    assert encode_checkpoint(loaded) == encode_checkpoint(checkpoint)
    assert bytes(loaded.job_document) == bytes(checkpoint.job_document)


def test_files_are_private(store: Store) -> None:
    """House rule: 0600 in 0700."""
    store.store(RUNNING)
    assert store.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in store.directory.iterdir()} == {0o600}


def test_file_and_directory_are_synced_before_store_returns(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write aside, sync, rename, sync the directory: in this order."""
    events: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        events.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        events.append(f"rename {self.name} {target.name}")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    store.store(RUNNING)
    assert events == ["sync checkpoint.tmp", "rename checkpoint.tmp checkpoint.json", "sync state"]


def test_failed_write_leaves_the_old_checkpoint(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk loses nothing."""
    store.store(RUNNING)

    def full(descriptor: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        store.store(REPORTING)
    monkeypatch.undo()
    loaded = store.load().checkpoint
    assert loaded is not None
    assert loaded.phase is Phase.RUNNING


def test_new_directories_are_synced_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 6: a power cut must not take the state directory away with the first checkpoint in it."""
    synced: list[Path] = []
    monkeypatch.setattr(checkpoint_module, "_sync_directory", synced.append)
    made = Store(tmp_path / "a" / "b")
    made.prepare()
    made.close()
    assert synced == [tmp_path / "a", tmp_path]
    again = Store(tmp_path / "a" / "b")
    again.prepare()
    again.close()
    assert synced[2:] == [tmp_path / "a"], "whoever made it may not have synced it"


def test_half_written_file_aside_is_no_matter(store: Store) -> None:
    """A power cut during the write leaves the old one."""
    store.store(RUNNING)
    (store.directory / "checkpoint.tmp").write_bytes(b'{"job')
    assert store.load().checkpoint is not None


@pytest.mark.parametrize("cut", range(0, len(encode_checkpoint(REPORTING)), 7))
def test_torn_checkpoint_is_set_aside(store: Store, cut: int) -> None:
    """A bad disk: never a crash loop, and the file is kept for whoever looks."""
    store.path.write_bytes(encode_checkpoint(REPORTING)[:cut])
    loaded = store.load()
    assert loaded.checkpoint is None
    assert loaded.fault
    assert loaded.path is not None
    assert loaded.path.name == "checkpoint.json.unreadable-1"
    assert store.load().fault is None


def test_set_aside_files_do_not_fill_the_disk(store: Store) -> None:
    """A disk that goes bad again and again keeps nine."""
    for _ in range(15):
        store.path.write_bytes(b"\0" * 10)
        assert store.load().fault
    assert len(list(store.directory.glob("*.unreadable-*"))) == 9


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode_checkpoint(RUNNING).replace(b'"version":1', b'"version":2'), "version 2 is not 1"),
        (encode_checkpoint(RUNNING).replace(b"running", b"reporting"), "phase reporting without a report"),
        (b'{"a":' * 5000, "nested too deeply"),
    ],
    ids=["version", "report", "deep"],
)
def test_fault_of_a_checkpoint_is_named(store: Store, data: bytes, expected: str) -> None:
    """The log says what was wrong."""
    store.path.write_bytes(data)
    assert store.peek().fault == expected


@given(st.binary())
def test_any_bytes_are_a_checkpoint_or_a_value_error(data: bytes) -> None:
    """Nothing on disk makes anything else happen."""
    with contextlib.suppress(ValueError):
        decode_checkpoint(data)


def test_second_agent_is_refused(store: Store) -> None:
    """Two agents on one state directory would run jobs twice."""
    with pytest.raises(AlreadyRunningError, match="another agent runs"):
        Store(store.directory).prepare()
    assert Store(store.directory).holder() == os.getpid()
    store.close()
    assert Store(store.directory).holder() is None


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """One line with the fix."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirectoryError, match="choose another with --state-dir"):
        Store(tmp_path / "file" / "state").prepare()


def test_directory_that_was_there_is_closed_to_others(tmp_path: Path) -> None:
    """One made by hand is as private as our own."""
    made = Store(tmp_path / "state")
    made.directory.mkdir(mode=0o755)
    made.prepare()
    assert made.directory.stat().st_mode & 0o777 == 0o700
    made.close()
