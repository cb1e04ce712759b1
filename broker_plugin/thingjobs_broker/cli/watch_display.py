"""How a watched job is drawn: a live bar on a terminal, else lines for changes, or JSON lines."""

from __future__ import annotations

import re
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from thingjobs_broker.cli.output import counters, printable, status, thing_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from thingjobs_broker.cli.output import Output

    Described = Mapping[str, Any]

BAR_COLUMNS: Final = 30
DETAIL_CHARACTERS_MAX: Final = 100
_PENDING: Final = ("numberOfQueuedThings", "numberOfInProgressThings")
_STEP: Final = re.compile(r"([0-9]{1,4})/([0-9]{1,4}) ")


class Display(Protocol):
    """What `watch` shows things on."""

    def show(self, job: Described, running: Sequence[Described]) -> None:
        """Show a job and some of its executions in progress."""

    def ended(self, job: Described, failures: Sequence[Described], failure_count: int) -> None:
        """Show how the job ended; `failures` are the first of `failure_count`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display_for(output: Output) -> Display:
    """Return the display that fits where the output goes."""
    if output.as_json:
        return JsonDisplay(output)
    return LiveDisplay(output) if output.is_live else LineDisplay(output)


class _Base:
    """Ends with lines of text; shows nothing before."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind."""

    def ended(self, job: Described, failures: Sequence[Described], failure_count: int) -> None:
        """Write the summary, and a line for each thing on which the job did not succeed."""
        seconds = (job.get("completedAt") or job["lastUpdatedAt"]) - job["createdAt"]
        self._output.line(
            f"job {printable(job['jobId'])} ",
            status(job["status"]),
            f" after {seconds:.1f} s: {counters(job)}",
        )
        for failure in failures:
            reason = failure.get("statusDetails", {}).get("detailsMap", {}).get("reason", "")
            state = failure.get("status") or failure["jobExecutionSummary"]["status"]
            self._output.line(
                f"  {thing_name(failure['thingArn'])} ", status(state), f" {printable(reason)}".rstrip()
            )
        if failure_count > len(failures):
            self._output.line(f"  and {failure_count - len(failures)} more")


class LineDisplay(_Base):
    """A line whenever something changed."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._shown = ""

    def show(self, job: Described, running: Sequence[Described]) -> None:
        """Write a line unless it would repeat the last one."""
        text = "; ".join([f"{job['status']}  {counters(job)}", *map(progress_of, running)])
        if text != self._shown:
            self._shown = text
            self._output.line(f"{datetime.now().astimezone():%H:%M:%S}  {text}")
            sys.stdout.flush()


class LiveDisplay(_Base):
    """A bar, the counters, and a line for each execution in progress; redrawn in place."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._live = Live(console=output.console, transient=False, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the cursor back, also after an error."""
        self._live.stop()

    def show(self, job: Described, running: Sequence[Described]) -> None:
        """Redraw."""
        done, total = share_done(job, running)
        head = Table.grid(padding=(0, 2, 0, 0))
        head.add_row(
            status(job["status"]),
            ProgressBar(
                total=total, completed=done, width=BAR_COLUMNS, complete_style="green", finished_style="green"
            ),
            f"{100 * done / total:3.0f} %" if total else "",
            counters(job),
            f"{max(0.0, time.time() - job['createdAt']):.0f} s" if not job.get("completedAt") else "",
        )
        lines = [
            Text("  " + progress_of(execution), no_wrap=True, overflow="ellipsis") for execution in running
        ]
        self._live.update(Group(head, *lines), refresh=True)

    def ended(self, job: Described, failures: Sequence[Described], failure_count: int) -> None:
        """Leave the last picture standing and write the summary under it."""
        self._live.stop()
        super().ended(job, failures, failure_count)


class JsonDisplay(_Base):
    """A line of JSON whenever something changed; the last one has `failures`."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._shown: object = None

    def show(self, job: Described, running: Sequence[Described]) -> None:
        """Write the job and its executions in progress, as the service describes them."""
        steady = [
            {k: v for k, v in each.items() if k != "approximateSecondsBeforeTimedOut"} for each in running
        ]
        if (job, steady) != self._shown:
            self._shown = (job, steady)
            self._output.json_line({"job": job, "executions": list(running)})

    def ended(self, job: Described, failures: Sequence[Described], failure_count: int) -> None:
        """Write the job with what went wrong."""
        self._output.json_line({"job": job, "failures": list(failures), "failureCount": failure_count})


def progress_of(execution: Described) -> str:
    """Return what a device last said: its step, then its other details."""
    details = dict(execution["statusDetails"]["detailsMap"])
    step = details.pop("step", "")
    said = [f"step {step}"] if step else []
    said += [f"{key} {value}" for key, value in sorted(details.items())]
    text = f"{thing_name(execution['thingArn'])}: {printable(', '.join(said)) or 'started'}"
    return text if len(text) <= DETAIL_CHARACTERS_MAX else text[: DETAIL_CHARACTERS_MAX - 3] + "..."


def share_done(job: Described, running: Sequence[Described]) -> tuple[float, int]:
    """Return how many executions are done, steps of those in progress as fractions, and of how many."""
    counts = job.get("jobProcessDetails", {})
    total = sum(counts.values())
    done = total - sum(counts.get(name, 0) for name in _PENDING)
    return done + sum(map(_steps_done, running)), total


def _steps_done(execution: Described) -> float:
    step = _STEP.match(execution["statusDetails"]["detailsMap"].get("step", ""))
    number, count = (int(step[1]), int(step[2])) if step else (0, 0)
    return (number - 1) / count if 0 < number <= count else 0.0
