"""`thingjobs store`: looks after the data directory of a service that does not run.

Check and export change nothing; repair says what it cuts and keeps a copy; import fills an empty directory.
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from thingjobs_broker.cli.command import end, examples_epilog
from thingjobs_broker.cli.errors import LocalFileError
from thingjobs_broker.cli.exit_codes import ExitCode
from thingjobs_broker.cli.output import Output, clock_time, printable

if TYPE_CHECKING:
    from thingjobs_broker.core.state import State
    from thingjobs_broker.store.examine import Examination
    from thingjobs_broker.store.loss import Loss
    from thingjobs_broker.store.repair import Cut

STANDARD_STREAM: Final = "-"
_SINGULAR: Final = {"entries": "entry"}

app = typer.Typer(
    no_args_is_help=True,
    help="Check, repair, export and import the data directory of a service that is not running.",
)

DataDir = Annotated[
    str, typer.Option(envvar="THINGJOBS_DATA_DIR", metavar="DIR", help="The service's data directory.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON document.")]
DEFAULT_DATA_DIR: Final = "thingjobs-data"


@app.command(
    "check",
    epilog=examples_epilog(
        "thingjobs store check --data-dir /var/lib/thingjobs", "thingjobs store check --json"
    ),
)
def check(*, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Read every snapshot and the whole journal, and say whether a service could start from them."""
    end(lambda: _check(Path(data_dir), Output(as_json=as_json)))


@app.command(
    "repair",
    epilog=examples_epilog(
        "thingjobs store repair --data-dir /var/lib/thingjobs",
        "thingjobs store repair --data-dir /var/lib/thingjobs --yes",
    ),
)
def repair(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it is only said.")] = False,
    as_json: AsJson = False,
) -> None:
    """Cut off what is damaged, so that a service can start from what is left.

    What follows damage in the journal is lost, because it may build on what is damaged; damage before the
    newest snapshot costs nothing. How many entries are lost, and since when, is said before.
    Every file that loses something is copied to the directory repair-TIME in the data directory before.
    """
    end(lambda: _repair(Path(data_dir), Output(as_json=as_json), yes=yes))


@app.command(
    "export",
    epilog=examples_epilog(
        "thingjobs store export --data-dir /var/lib/thingjobs --output store.jsonl",
        "thingjobs store export | grep press-7",
    ),
)
def export(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    output: Annotated[
        str, typer.Option(metavar="FILE", help="A new file; - is standard output.")
    ] = STANDARD_STREAM,
    as_json: AsJson = False,
) -> None:
    """Write things, jobs, executions and their timelines as JSON lines, one each.

    With --json what was written is told as a JSON document, where the lines go to a file.
    """
    end(lambda: _export(Path(data_dir), output, Output(as_json=as_json)))


@app.command(
    "import",
    epilog=examples_epilog(
        "thingjobs store import store.jsonl --data-dir /var/lib/thingjobs-2",
        "ssh old thingjobs store export | thingjobs store import -",
    ),
)
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What an export wrote; - is standard input.")],
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Fill an empty data directory with an export; a service that starts from it goes on from there."""
    end(lambda: _import(Path(data_dir), file, Output(as_json=as_json)))


def _check(data_dir: Path, output: Output) -> ExitCode:
    from thingjobs_broker.cli.store_progress import counted_files
    from thingjobs_broker.store.examine import examine

    with (
        _held(data_dir, to_read=True),
        counted_files(output, "reading the store", data_dir, reads=3) as files,
    ):
        found = examine(files, data_dir)
    if output.as_json:
        output.document(_examination(data_dir, found))
    else:
        _show_examination(output, data_dir, found)
    return ExitCode.OK if found.is_sound else ExitCode.NOT_SUCCEEDED


def _repair(data_dir: Path, output: Output, *, yes: bool) -> ExitCode:
    from thingjobs_broker.cli.store_progress import counted_files
    from thingjobs_broker.store.files import OsFiles
    from thingjobs_broker.store.repair import CopyFailed, carry_out, plan

    aside = data_dir / f"repair-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with _held(data_dir):
        with counted_files(output, "reading the store", data_dir, reads=3) as files:
            wanted = plan(files, data_dir)
        if not output.as_json:
            for cut in wanted.cuts:
                output.line(printable(_cut_sentence(cut)))
            if wanted.begin_anew:
                output.line(f"begin a new segment with entry {wanted.position + 1}")
            if wanted.loss is not None:
                output.line(f"lost: {_loss_in_words(wanted.loss)}")
        # Said before it is done, in this order.
        if wanted.is_needed and yes:
            try:
                carry_out(OsFiles(), data_dir, wanted, aside)
            except CopyFailed:
                with suppress(OSError):
                    aside.rmdir()
                raise
    done = wanted.is_needed and yes
    if output.as_json:
        output.document(
            {
                "needed": wanted.is_needed,
                "done": done,
                "position": wanted.position,
                "cuts": [
                    {"file": str(cut.path), "offset": cut.offset, "reason": cut.reason} for cut in wanted.cuts
                ],
                "lost": _loss(wanted.loss),
                "copies": str(aside) if done else None,
            }
        )
    elif done:
        output.line(printable(f"done; copies of what was cut are in {aside}"))
    elif wanted.is_needed:
        output.line("nothing was done; repeat with --yes to do this")
    else:
        output.line("nothing to repair")
    return ExitCode.NOT_SUCCEEDED if wanted.is_needed and not yes else ExitCode.OK


def _export(data_dir: Path, target: str, output: Output) -> None:
    from thingjobs_broker.cli.store_progress import counted_files
    from thingjobs_broker.store.journal import Journal
    from thingjobs_broker.store.recover import recover
    from thingjobs_broker.store.store import JOURNAL, SNAPSHOTS

    with (
        _held(data_dir, to_read=True),
        counted_files(output, "reading the store", data_dir, reads=2) as files,
    ):
        journal = Journal.read_only(files, data_dir / JOURNAL)
        state = recover(files, data_dir / SNAPSHOTS, journal, read_only=True).state
    if target == STANDARD_STREAM:
        sys.stdout.flush()
        _write_export(output, state, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    try:
        _write_new(Path(target), lambda file: _write_export(output, state, file))
    except OSError as error:
        raise LocalFileError(f"cannot write {target!r}: {error.strerror}") from None
    _tell(output, f"exported to {target}", state)


def _write_export(output: Output, state: "State", file: BinaryIO) -> None:
    from thingjobs_broker.store.exchange import export_lines

    counts = _counts(state)
    with output.progress("writing", sum(counts.values())) as advance:
        for line in export_lines(state):
            file.write(line)
            advance()


def _import(data_dir: Path, source: str, output: Output) -> None:
    from thingjobs_broker.cli.store_progress import counted_lines
    from thingjobs_broker.store.exchange import import_lines
    from thingjobs_broker.store.files import OsFiles
    from thingjobs_broker.store.journal import Journal
    from thingjobs_broker.store.lock import prepare_data_directory
    from thingjobs_broker.store.snapshot import positions
    from thingjobs_broker.store.store import JOURNAL, SNAPSHOTS, Store

    with _store_errors():
        try:
            if source == STANDARD_STREAM:
                state = import_lines(sys.stdin.buffer)
            else:
                size_bytes = Path(source).stat().st_size
                with Path(source).open("rb") as file, output.reading("reading", size_bytes) as advance:
                    state = import_lines(counted_lines(file, advance))
        except OSError as error:
            raise LocalFileError(f"cannot read {source!r}: {error.strerror}") from None
        prepare_data_directory(data_dir.absolute())
    with _held(data_dir, empty=True):
        files = OsFiles()
        if (
            positions(files, data_dir / SNAPSHOTS)
            or Journal.read_only(files, data_dir / JOURNAL).last_position
        ):
            raise LocalFileError(f"the data directory {str(data_dir)!r} is not empty; import into a new one")
        store = Store(files, data_dir, reserve_bytes=0)
        store.write_snapshot(state)
        store.close()
    _tell(output, f"imported into {data_dir}", state)


# Helpers


@contextmanager
def _held(data_dir: Path, *, empty: bool = False, to_read: bool = False) -> Iterator[None]:
    """Hold the lock on a data directory, which must have a store in it unless it may be `empty`.

    Only `to_read` it, the disk may refuse writes: then it is to be rescued from it.
    """
    from thingjobs_broker import logs
    from thingjobs_broker.store.examine import holds_store
    from thingjobs_broker.store.files import OsFiles
    from thingjobs_broker.store.lock import DataDirectoryLock

    # What is found is told by the commands themselves.
    logs.configure("error", json_lines=False)
    with _store_errors():
        if not empty and not holds_store(OsFiles(), data_dir):
            raise LocalFileError(f"there is no store in {str(data_dir)!r}; name it with --data-dir DIR")
        with DataDirectoryLock(data_dir, to_read=to_read):
            yield


@contextmanager
def _store_errors() -> Iterator[None]:
    from thingjobs_broker.store.errors import StoreError

    try:
        yield
    except StoreError as error:
        raise LocalFileError(str(error)) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LocalFileError(f"{error.filename or 'the data directory'}: {error.strerror}") from None


def _write_new(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file that must not exist, for its owner alone; half of one is removed again."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        try:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink()
            raise


def _counts(state: "State") -> dict[str, int]:
    return {
        "things": len(state.things),
        "jobs": len(state.jobs),
        "executions": sum(sum(job.counts.values()) for job in state.jobs.values()),
    }


def _in_words(state: "State") -> str:
    return ", ".join(_counted(count, what) for what, count in _counts(state).items())


def _counted(count: int, what: str) -> str:
    return f"{count} {_SINGULAR.get(what, what.removesuffix('s')) if count == 1 else what}"


def _tell(output: Output, what: str, state: "State") -> None:
    if output.as_json:
        output.document(_counts(state))
    else:
        output.line(printable(f"{what}: {_in_words(state)}"))


def _cut_sentence(cut: "Cut") -> str:
    what = f"cut {cut.path} at offset {cut.offset}" if cut.offset is not None else f"set {cut.path} aside"
    return f"{what}: {cut.reason}"


def _loss_in_words(lost: "Loss") -> str:
    if not lost.entries:
        what = "no entry" if lost.is_exact else "whatever there was"
        return f"{what} behind entry {lost.first - 1}"
    count = f"{'' if lost.is_exact else 'at least '}{_counted(lost.entries, 'entries')}"
    since = f", all since {clock_time(lost.since_ms / 1000)}" if lost.since_ms else ""
    return f"{count} from entry {lost.first} on{since}"


def _loss(lost: "Loss | None") -> dict[str, Any] | None:
    if lost is None:
        return None
    return {
        "fromPosition": lost.first,
        "entries": lost.entries,
        "isExact": lost.is_exact,
        "since": lost.since_ms / 1000 if lost.since_ms else None,
    }


def _show_examination(output: Output, data_dir: Path, found: "Examination") -> None:
    for snapshot in found.snapshots:
        verdict = f"DAMAGED, {snapshot.damage}" if snapshot.damage else "whole"
        output.line(printable(f"snapshot of entry {snapshot.position}: {verdict}"))
    spare = "DAMAGED before the newest snapshot" if found.spare_problem else "whole"
    journal = found.problem or f"{spare}, {_counted(found.segments, 'segments')} up to entry {found.position}"
    output.line(printable(f"journal: {journal}"))
    if found.spare_problem is not None:
        # A repair cannot help: nothing has to be cut for a service to start.
        place = str(found.spare_problem).partition(";")[0]
        output.line(
            printable(f"journal: {place}; only an older snapshot would need it, and a start does not")
        )
    if found.torn_tail is not None:
        cut = f"{found.torn_tail.bytes_cut} bytes of an append that did not finish"
        fate = "" if found.state is None else "; a start cuts them off"
        output.line(printable(f"journal: {cut}{fate}"))
    if found.state is not None:
        output.line(printable(f"a service would start from {data_dir} with {_in_words(found.state)}"))
    else:
        command = f"thingjobs store repair --data-dir {shlex.quote(str(data_dir))}"
        output.line(
            printable(f"a service would not start from {data_dir}; `{command}` says what it would cut")
        )
        if found.loss is not None:
            output.line(f"a repair would lose {_loss_in_words(found.loss)}")


def _examination(data_dir: Path, found: "Examination") -> dict[str, Any]:
    return {
        "ok": found.is_sound,
        "dataDir": str(data_dir),
        "startable": found.problem is None,
        "problem": str(found.problem) if found.problem else None,
        "spareProblem": str(found.spare_problem) if found.spare_problem else None,
        "position": found.position,
        "segments": found.segments,
        "lost": _loss(found.loss),
        "tornTailBytes": found.torn_tail.bytes_cut if found.torn_tail else 0,
        "snapshots": [
            {"file": str(snapshot.path), "position": snapshot.position, "damage": snapshot.damage}
            for snapshot in found.snapshots
        ],
        **(_counts(found.state) if found.state else {}),
    }
