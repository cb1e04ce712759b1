"""`thingjobs store`: what it shows, what it changes, what it ends with."""

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from tests.broker.core.world import START_S, World, picture
from thingjobs_broker.cli.exit_codes import ExitCode
from thingjobs_broker.cli.main import app
from thingjobs_broker.cli.output import Output, clock_time
from thingjobs_broker.core.records import Record
from thingjobs_broker.core.state import State
from thingjobs_broker.store.files import OsFile, OsFiles
from thingjobs_broker.store.journal import Journal
from thingjobs_broker.store.lock import DataDirectoryLock
from thingjobs_broker.store.record_codec import pack
from thingjobs_broker.store.store import Store


def run(*arguments: str, **options: Any) -> Any:
    """Runs `thingjobs store`; logging is as it was afterwards."""
    before = structlog.get_config()
    try:
        return CliRunner().invoke(app, ["store", *arguments], env={"COLUMNS": "200"}, **options)
    finally:
        structlog.configure(**before)


def filled(data_dir: Path) -> dict[str, Any]:
    """Makes a store of two jobs with a snapshot between them; returns its state."""
    data_dir.mkdir(mode=0o700)
    world = World("A", "B")
    store = Store(OsFiles(), data_dir)
    world.create_job("J1", "A", "B")
    store.append(entries(world.journal))
    store.write_snapshot(world.state)
    begin = len(world.journal)
    world.create_job("J2", "A")
    world.update("A", "J1", "IN_PROGRESS", stepTimeoutInMinutes=3, statusDetails={"step": "one"})
    store.append(entries(world.journal[begin:]))
    store.close()
    return picture(world.state)


def entries(records: list[Record]) -> list[bytes]:
    """An entry for each record."""
    return [pack([record]) for record in records]


def state(data_dir: Path) -> State:
    """What a service would start from."""
    store = Store(OsFiles(), data_dir)
    try:
        return store.load()
    finally:
        store.close()


def contents(data_dir: Path) -> dict[Path, bytes]:
    """Every file and what it holds, but for the lock."""
    return {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file() and path.name != "lock"}


def newest_segment(data_dir: Path) -> Path:
    """The file that takes entries."""
    return max((data_dir / "journal").glob("*.log"))


def damage(data_dir: Path, text: bytes) -> None:
    """Spoils the place in the journal where the text stands last."""
    journal = newest_segment(data_dir)
    content = bytearray(journal.read_bytes())
    content[content.rindex(text)] ^= 0xFF
    journal.write_bytes(content)


def test_check_of_a_sound_store_changes_nothing_and_ends_with_0(tmp_path: Path) -> None:
    """It says what a service would start with."""
    filled(tmp_path / "data")
    before = contents(tmp_path / "data")
    done = run("check", "--data-dir", str(tmp_path / "data"))
    assert done.exit_code == ExitCode.OK
    assert "2 things, 2 jobs, 3 executions" in done.output
    assert "2 segments up to" in done.output
    assert contents(tmp_path / "data") == before
    found = json.loads(run("check", "--data-dir", str(tmp_path / "data"), "--json").output)
    assert (found["ok"], found["startable"], found["problem"]) == (True, True, None)
    assert found["snapshots"][0]["position"] < found["position"]
    assert (found["things"], found["jobs"], found["executions"]) == (2, 2, 3)


def test_check_names_file_and_offset_of_damage_and_ends_with_1(tmp_path: Path) -> None:
    """And the way out; no traceback."""
    filled(tmp_path / "data")
    damage(tmp_path / "data", b"J1")
    before = contents(tmp_path / "data")
    done = run("check", "--data-dir", str(tmp_path / "data"))
    assert done.exit_code == ExitCode.NOT_SUCCEEDED
    assert f"{newest_segment(tmp_path / 'data')}: offset" in done.output
    assert f"a repair would lose 4 entries from entry 7 on, all since {clock_time(START_S)}\n" in done.output
    assert f"`thingjobs store repair --data-dir {tmp_path / 'data'}` says what it would cut" in done.output
    assert contents(tmp_path / "data") == before
    found = json.loads(run("check", "--data-dir", str(tmp_path / "data"), "--json").output)
    assert (found["ok"], found["startable"]) == (False, False)
    assert found["lost"] == {"fromPosition": 7, "entries": 4, "isExact": True, "since": START_S}


def test_damage_that_no_start_would_meet_is_told_as_such(tmp_path: Path) -> None:
    """Before the newest snapshot: a repair would find nothing to do, so it is not advised."""
    data_dir = tmp_path / "data"
    filled(data_dir)
    first = data_dir / "journal" / "00000000000000000001.log"
    content = bytearray(first.read_bytes())
    content[100] ^= 1
    first.write_bytes(content)
    done = run("check", "--data-dir", str(data_dir))
    assert done.exit_code == ExitCode.NOT_SUCCEEDED
    assert f"{first}: offset" in done.output
    assert "only an older snapshot would need it" in done.output
    assert "a service would start" in done.output
    assert "repair" not in done.output
    assert run("repair", "--data-dir", str(data_dir)).output == "nothing to repair\n"


def test_repair_says_what_it_would_cut_and_cuts_only_with_yes(tmp_path: Path) -> None:
    """With a copy of every file that lost something."""
    data_dir = tmp_path / "data"
    filled(data_dir)
    damage(data_dir, b"J2")
    before = contents(data_dir)
    said = run("repair", "--data-dir", str(data_dir))
    assert said.exit_code == ExitCode.NOT_SUCCEEDED
    assert "are lost" in said.output
    assert f"\nlost: 4 entries from entry 7 on, all since {clock_time(START_S)}\n" in said.output
    assert "--yes" in said.output
    assert contents(data_dir) == before
    done = run("repair", "--data-dir", str(data_dir), "--yes")
    assert done.exit_code == ExitCode.OK
    assert said.output.splitlines()[0] in done.output
    (aside,) = data_dir.glob("repair-*")
    (copy,) = aside.iterdir()
    assert copy.read_bytes() == before[data_dir / "journal" / copy.name]
    assert aside.stat().st_mode & 0o777 == 0o700
    assert list(state(data_dir).jobs) == ["J1"]
    assert run("check", "--data-dir", str(data_dir)).exit_code == ExitCode.OK
    again = run("repair", "--data-dir", str(data_dir), "--yes")
    assert (again.exit_code, again.output) == (ExitCode.OK, "nothing to repair\n")


def test_a_newest_segment_that_is_gone_is_noticed(tmp_path: Path) -> None:
    """What was in it cannot be told; nor is more than that claimed where a frame is not to be believed."""
    data_dir = tmp_path / "data"
    filled(data_dir)
    journal = newest_segment(data_dir)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:28] + bytes(20) + whole[48:])
    assert "lose at least 1 entry from entry 7 on" in run("check", "--data-dir", str(data_dir)).output
    journal.unlink()
    assert "lose whatever there was behind entry 6" in run("check", "--data-dir", str(data_dir)).output
    done = run("repair", "--data-dir", str(data_dir), "--yes")
    assert "begin a new segment with entry 7\nlost: whatever there was behind entry 6\n" in done.output
    assert run("check", "--data-dir", str(data_dir)).exit_code == ExitCode.OK
    assert list(state(data_dir).jobs) == ["J1"]


def test_a_repair_without_room_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No copies, no cut; nor does a directory for copies stay behind, however often it is tried."""
    data_dir = tmp_path / "data"
    filled(data_dir)
    damage(data_dir, b"J2")
    before = contents(data_dir)

    def is_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(OsFile, "write", is_full)
    done = run("repair", "--data-dir", str(data_dir), "--yes")
    assert done.exit_code == ExitCode.LOCAL_FILE
    assert "No space left on device; nothing was cut" in done.output
    assert (contents(data_dir), list(data_dir.glob("repair-*"))) == (before, [])


def test_a_torn_tail_is_promised_to_nobody_who_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start cuts it off, where there is one."""
    # The snapshot ends in the middle of a segment, as it did once.
    monkeypatch.setattr(Journal, "end_segment_at", lambda *_: None)
    filled(tmp_path / "data")
    journal = newest_segment(tmp_path / "data")
    whole = journal.read_bytes()
    journal.write_bytes(whole + b"torn")
    assert (
        "4 bytes of an append that did not finish; a start"
        in run("check", "--data-dir", str(tmp_path / "data")).output
    )
    journal.write_bytes(whole[:100])
    said = run("check", "--data-dir", str(tmp_path / "data")).output
    assert "would not start" in said
    assert "of an append that did not finish\n" in said


def test_repair_as_json_is_one_document(tmp_path: Path) -> None:
    """For scripts: what was needed, what was done, where the copies are."""
    filled(tmp_path / "data")
    damage(tmp_path / "data", b"J2")
    told = json.loads(run("repair", "--data-dir", str(tmp_path / "data"), "--json", "--yes").output)
    assert (told["needed"], told["done"], len(told["cuts"])) == (True, True, 1)
    assert told["lost"] == {"fromPosition": 7, "entries": 4, "isExact": True, "since": START_S}
    assert Path(told["copies"]).is_dir()
    told = json.loads(run("repair", "--data-dir", str(tmp_path / "data"), "--json").output)
    assert told == {
        "needed": False,
        "done": False,
        "position": told["position"],
        "cuts": [],
        "lost": None,
        "copies": None,
    }


def test_what_is_exported_and_imported_is_an_equal_store(tmp_path: Path) -> None:
    """Item 2: over a file and over a pipe."""
    before = filled(tmp_path / "data")
    lines = tmp_path / "store.jsonl"
    done = run("export", "--data-dir", str(tmp_path / "data"), "--output", str(lines))
    assert done.exit_code == ExitCode.OK
    assert lines.stat().st_mode & 0o777 == 0o600
    piped = run("export", "--data-dir", str(tmp_path / "data"))
    assert piped.stdout_bytes == lines.read_bytes()
    for name, source, stdin in (("two", str(lines), None), ("three", "-", piped.stdout_bytes)):
        done = run("import", source, "--data-dir", str(tmp_path / name), input=stdin)
        assert done.exit_code == ExitCode.OK, done.output
        assert "2 things, 2 jobs, 3 executions" in done.output
        assert picture(state(tmp_path / name)) == before
        # It takes entries, and a damaged first snapshot would be noticed.
        store = Store(OsFiles(), tmp_path / name)
        store.append(entries(World("C").journal))
        store.close()
        assert set(state(tmp_path / name).things) == {"A", "B", "C"}


def test_an_import_that_fails_leaves_no_directory(tmp_path: Path) -> None:
    """Half a store would be taken for a whole one."""
    filled(tmp_path / "data")
    exported = run("export", "--data-dir", str(tmp_path / "data")).stdout_bytes
    cut_off = exported[: len(exported) // 2]
    done = run("import", "-", "--data-dir", str(tmp_path / "new"), input=cut_off)
    assert done.exit_code == ExitCode.LOCAL_FILE
    assert "line" in done.output
    assert not (tmp_path / "new").exists()


def test_an_import_into_a_store_is_refused(tmp_path: Path) -> None:
    """And changes nothing."""
    filled(tmp_path / "data")
    exported = run("export", "--data-dir", str(tmp_path / "data")).stdout_bytes
    before = contents(tmp_path / "data")
    done = run("import", "-", "--data-dir", str(tmp_path / "data"), input=exported)
    assert done.exit_code == ExitCode.LOCAL_FILE
    assert "is not empty" in done.output
    assert contents(tmp_path / "data") == before


def test_an_export_replaces_no_file(tmp_path: Path) -> None:
    """An older export may be all that is left of a store."""
    filled(tmp_path / "data")
    (tmp_path / "old").write_text("precious")
    done = run("export", "--data-dir", str(tmp_path / "data"), "--output", str(tmp_path / "old"))
    assert done.exit_code == ExitCode.LOCAL_FILE
    assert (tmp_path / "old").read_text() == "precious"


@pytest.mark.parametrize("command", ["check", "repair", "export"])
def test_a_directory_without_a_store_is_an_error_and_not_made(command: str, tmp_path: Path) -> None:
    """A mistyped name must not pass for a sound, empty store."""
    done = run(command, "--data-dir", str(tmp_path / "nowhere"))
    assert done.exit_code == ExitCode.LOCAL_FILE
    assert "there is no store in" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["check", "repair", "export"])
def test_a_store_in_use_is_left_alone(command: str, tmp_path: Path) -> None:
    """The service that uses it is named by its process id."""
    filled(tmp_path / "data")
    with DataDirectoryLock(tmp_path / "data"):
        done = run(command, "--data-dir", str(tmp_path / "data"))
    assert done.exit_code == ExitCode.LOCAL_FILE
    assert "is in use by process" in done.output


def test_the_directory_can_stand_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same variable as for the service."""
    filled(tmp_path / "data")
    monkeypatch.setenv("THINGJOBS_DATA_DIR", str(tmp_path / "data"))
    assert run("check").exit_code == ExitCode.OK


@pytest.mark.parametrize("command", ["check", "repair", "export", "import"])
def test_long_work_shows_how_far_it_has_come(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of the files, or of the export, comes to about what was announced."""
    filled(tmp_path / "data")
    lines = tmp_path / "lines"
    run("export", "--data-dir", str(tmp_path / "data"), "--output", str(lines))
    announced: list[int] = []
    read: list[int] = []

    @contextmanager
    def bar(_: Output, _what: str, total: int, _total_min: int) -> Iterator[Callable[[int], None]]:
        announced.append(total)
        yield read.append

    monkeypatch.setattr(Output, "_bar", bar)
    given = [str(lines)] if command == "import" else []
    data_dir = tmp_path / ("new" if command == "import" else "data")
    assert run(command, *given, "--data-dir", str(data_dir)).exit_code == ExitCode.OK
    assert announced
    assert 0 < sum(read) <= 1.05 * sum(announced)
