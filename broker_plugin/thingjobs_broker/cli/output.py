"""How answers are shown: a JSON document, or compact text for people in which nothing commands the terminal.

Colors and live displays appear on a terminal only, and never when NO_COLOR is set.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

STYLES: Final[Mapping[str, str]] = {
    "SUCCEEDED": "green",
    "COMPLETED": "green",
    "IN_PROGRESS": "cyan",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "REJECTED": "red",
    "CANCELED": "yellow",
    "REMOVED": "yellow",
}
"""Colors of the states of jobs and executions; the others have none."""

COUNTERS: Final[Mapping[str, str]] = {
    "numberOfSucceededThings": "succeeded",
    "numberOfFailedThings": "failed",
    "numberOfTimedOutThings": "timed out",
    "numberOfRejectedThings": "rejected",
    "numberOfCanceledThings": "canceled",
    "numberOfRemovedThings": "removed",
    "numberOfInProgressThings": "in progress",
    "numberOfQueuedThings": "queued",
}
"""The counters of `jobProcessDetails` in the order of reading."""

LONG_COUNT_MIN: Final = 200
"""Fewer steps are done before a bar could be read."""

LONG_BYTES_MIN: Final = 4 * 1024 * 1024
"""Of a store; less is read in a moment."""

LAST_COLUMN_MIN: Final = 16
"""Where less is left for it, rows are written as lines, which the terminal wraps."""

_NOT_A_TERMINAL_COLUMNS: Final = 10_000
_LINE_BREAKS: Final = {ord("\n"): " ", ord("\t"): " "}
_AGES: Final = ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "h"), (float("inf"), 86_400, "d"))


class Output:
    """Where a command's answer goes. `as_json` is the operator's wish for a document instead of text."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # Text that is read by a program is never folded.
        width = None if sys.stdout.isatty() else _NOT_A_TERMINAL_COLUMNS
        self.console = _Console(markup=False, highlight=False, emoji=False, width=width)

    @property
    def is_live(self) -> bool:
        """Tell whether a display may redraw itself."""
        return not self.as_json and self.console.is_terminal

    def document(self, value: object) -> None:
        """Write the one JSON document of a command."""
        write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def done(self, reply: object, text: str) -> None:
        """Write the answer as the document of the command, or say for people what was done."""
        self.document(reply) if self.as_json else self.line(text)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a bar on standard error while something long goes on; give what counts one step.

        Only for people who look: on a terminal, and neither with `--json` nor with NO_COLOR.
        """
        with self._bar(what, total, LONG_COUNT_MIN) as advance:
            yield lambda: advance(1)

    @contextmanager
    def reading(self, what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
        """Show the same while so many bytes are read; give what counts some of them."""
        with self._bar(what, total_bytes, LONG_BYTES_MIN) as advance:
            yield advance

    @contextmanager
    def _bar(self, what: str, total: int, total_min: int) -> Iterator[Callable[[int], None]]:
        console = Console(stderr=True)
        if self.as_json or not console.is_terminal or console.no_color or total < total_min:
            yield lambda _count: None
            return
        from rich.progress import Progress

        with Progress(console=console, transient=True) as bar:
            task = bar.add_task(printable(what), total=total)
            yield lambda count: bar.advance(task, count)

    def json_line(self, value: object) -> None:
        """Write one line of a stream of JSON values."""
        write(json.dumps(value, ensure_ascii=False) + "\n")

    def line(self, *parts: str | Text) -> None:
        """Write a line of text."""
        self.console.print(Text.assemble(*parts), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, empty: str) -> None:
        """Write rows under their headings, or `empty` when there are none."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._print(table) if table.row_count else self.line(empty)

    def pairs(self, pairs: Mapping[str, str | Text], *, indent: int = 2) -> None:
        """Write names and values in two columns; empty values are left out."""
        self.columns(((Text(name, "dim"), value) for name, value in pairs.items() if value), indent=indent)

    def columns(self, rows: Iterable[Sequence[str | Text]], *, indent: int = 2) -> None:
        """Write rows in columns without headings; nothing is cut off, however narrow the terminal is."""
        cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        if not cells:
            return
        fixed = sum(2 + max(row[n].cell_len for row in cells) for n in range(len(cells[0]) - 1))
        if self.console.width - indent - fixed < LAST_COLUMN_MIN:
            for row in cells:
                self.line(" " * indent, Text("  ").join(row))
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        for number in range(len(cells[0])):
            table.add_column(no_wrap=number < len(cells[0]) - 1, overflow="fold")
        for row in cells:
            table.add_row(*row)
        self._print(Padding.indent(table, indent))

    def _print(self, what: RenderableType) -> None:
        """Write without the blanks that fill the last column."""
        with self.console.capture() as captured:
            self.console.print(what)
        write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


class _Console(Console):
    """Leaves it to the command what becomes of it when nobody reads any more; rich would end the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def write(text: str) -> None:
    """Write to standard output at once, so that whoever reads along sees it."""
    # Names of files and devices may hold what UTF-8 cannot; they must not end the command.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode())
    sys.stdout.flush()


def complain(message: str) -> None:
    """Write one line to standard error."""
    text = printable(message).encode("utf-8", "backslashreplace").decode()
    print(f"thingjobs: {text}", file=sys.stderr, flush=True)  # noqa: T201 - this is what writes


def printable(text: str) -> str:
    """Return text without anything a terminal would obey, on one line."""
    flat = text.translate(_LINE_BREAKS)
    return (
        flat
        if flat.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in flat)
    )


def status(value: str) -> Text:
    """Return a state in its color."""
    return Text(printable(value), STYLES.get(value, ""))


def moment(seconds: float | None, now: float) -> str:
    """Return an epoch time as local time in ISO form with its age, or an empty text.

    `now` is the service's time: the clock here may be another.
    """
    if not seconds:
        return ""
    return f"{clock_time(seconds)} ({age(now - seconds)})"


def clock_time(seconds: float) -> str:
    """Return an epoch time as local time in ISO form, to the second."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(timespec="seconds")


def age(seconds: float) -> str:
    """Return a span for people: `now`, `12 s ago`, `in 5 min`."""
    size = int(abs(seconds))
    if size == 0:
        return "now"
    unit_seconds, unit = next((divisor, unit) for limit, divisor, unit in _AGES if size < limit)
    return f"{size // unit_seconds} {unit} ago" if seconds > 0 else f"in {size // unit_seconds} {unit}"


def span(seconds: float) -> str:
    """Return a length of time for people: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    size = max(0, round(seconds))
    if size < 60:
        return f"{size} s"
    minutes = round(size / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    days, hours = divmod(hours, 24)
    return f"{days} d" + (f" {hours} h" if hours else "")


def counters(job: Mapping[str, Any]) -> str:
    """Return the counters of a job that are not zero: `2 succeeded, 1 queued`."""
    details = job.get("jobProcessDetails", {})
    return (
        ", ".join(f"{details[name]} {word}" for name, word in COUNTERS.items() if details.get(name))
        or "none yet"
    )


def execution_count(job: Mapping[str, Any]) -> int:
    """Return how many executions a job has had; the other members of its details are no counters."""
    details = job.get("jobProcessDetails", {})
    return sum(details.get(name, 0) for name in COUNTERS)


def thing_name(arn: str) -> str:
    """Return the name in the ARN of a thing."""
    return printable(arn.rpartition("/")[2])
