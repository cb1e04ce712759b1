"""Power cuts: whatever the disk forgot, the agent finds the old checkpoint or the new one, and never none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.agent.harness import document
from tests.agent.lost_power import Recorder
from thingjobs_agent.checkpoint import CHECKPOINT_NAME, Store
from thingjobs_agent.work import Checkpoint, Phase, encode_checkpoint

OLD = Checkpoint("J1", 1, 1_700_000_000, Phase.RUNNING, job_document=msgspec.Raw(b'{"operation":"a.sh"}'))
NEW = Checkpoint(
    "J2",
    1,
    1_700_000_001,
    Phase.RUNNING,
    1,
    job_document=msgspec.Raw(msgspec.json.encode(document("a", "b"))),
)


def recorded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A store of NEW over OLD, with a leftover of a store that was cut off."""
    store = Store(directory)
    store.prepare()
    store.store(OLD)
    store.close()
    (directory / "checkpoint.tmp").write_bytes(b"half of something")
    recorder = Recorder(directory, monkeypatch)
    store.store(NEW)
    monkeypatch.undo()
    return recorder


def found(contents: dict[str, bytes], directory: Path) -> Checkpoint | None:
    """What an agent finds after the cut; it must be able to read it."""
    for name, data in contents.items():
        (directory / name).write_bytes(data)
    loaded = Store(directory).peek()
    assert loaded.fault is None, contents
    return loaded.checkpoint


def test_any_cut_leaves_the_old_or_the_new_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 6: synced before renamed, and the name synced before anything else happens."""
    (tmp_path / "state").mkdir()
    recorder = recorded(tmp_path / "state", monkeypatch)
    assert len(recorder.states) > 6
    seen = set()
    for number, disk in enumerate(recorder.states):
        for variant, contents in enumerate(disk.after_cut()):
            directory = tmp_path / f"{number}-{variant}"
            directory.mkdir()
            checkpoint = found(contents, directory)
            assert checkpoint in (OLD, NEW)
            seen.add("old" if checkpoint == OLD else "new")
            if number == len(recorder.states) - 1:
                assert checkpoint == NEW, "the store had returned"
    assert seen == {"old", "new"}


def test_the_disk_of_these_tests_does_forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that syncs nothing would be caught: its file may be zeros under the right name."""
    (tmp_path / "state").mkdir()
    monkeypatch.setattr(Recorder, "_fsync", lambda *_: None)
    last = recorded(tmp_path / "state", monkeypatch).states[-1]
    assert bytes(len(encode_checkpoint(NEW))) in [each[CHECKPOINT_NAME] for each in last.after_cut()]
