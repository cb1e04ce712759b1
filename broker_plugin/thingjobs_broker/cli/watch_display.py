"""How a watched job is drawn: a live bar on a terminal, else lines for changes, or JSON lines."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from thingjobs_broker.cli.causes import told
from thingjobs_broker.cli.output import (
    COUNTERS,
    STYLES,
    clock_time,
    counters,
    printable,
    span,
    status,
    thing_name,
)
from thingjobs_broker.cli.watched import Pace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from thingjobs_broker.cli.output import Output
    from thingjobs_broker.cli.watched import Snapshot

    Described = Mapping[str, Any]

BAR_COLUMNS: Final = 30
CAUSES_SHOWN: Final = 10
DETAIL_CHARACTERS_MAX: Final = 100
_STEP: Final = re.compile(r"([0-9]{1,4})/([0-9]{1,4}) ")


class Display(Protocol):
    """What `watch` shows things on."""

    def show(self, snapshot: Snapshot) -> None:
        """Show a job, some of its executions in progress, and its rollout."""

    def ended(self, last: Snapshot, failures: Sequence[Described], failure_count: int) -> None:
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

    def ended(self, last: Snapshot, failures: Sequence[Described], failure_count: int) -> None:
        """Write the summary, the causes, and a line for each thing on which the job did not succeed."""
        job = last.job
        seconds = (job.get("completedAt") or job["lastUpdatedAt"]) - job["createdAt"]
        self._output.line(
            f"job {printable(job['jobId'])} ",
            status(job["status"]),
            f" after {seconds:.1f} s: {counters(job)}",
        )
        for line in causes_of(last):
            self._output.line(f"  {line}")
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

    def show(self, snapshot: Snapshot) -> None:
        """Write a line unless it would repeat the last one."""
        job = snapshot.job
        parts = [f"{job['status']}  {counters(job)}", *map(progress_of, snapshot.running)]
        parts += causes_of(snapshot)
        text = "; ".join([*parts, *([rollout_of(snapshot.rollout)] if snapshot.rollout else [])])
        if text != self._shown:
            self._shown = text
            self._output.line(f"{datetime.fromtimestamp(snapshot.now, UTC).astimezone():%H:%M:%S}  {text}")
            sys.stdout.flush()


class LiveDisplay(_Base):
    """A bar, the counters, and a line for each execution in progress; redrawn in place."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._pace = Pace()
        self._live = Live(console=output.console, transient=False, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the cursor back, also after an error."""
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Redraw."""
        job, total = snapshot.job, snapshot.thing_count
        done = share_done(snapshot)
        self._pace.note(snapshot)
        head = Table.grid(padding=(0, 2, 0, 0))
        head.add_row(
            status(job["status"]),
            ProgressBar(
                total=total, completed=done, width=BAR_COLUMNS, complete_style="green", finished_style="green"
            ),
            f"{100 * done / total:3.0f} %" if total else "",
            span(snapshot.now - job["createdAt"]) if not job.get("completedAt") else "",
        )
        texts = [*self._told(snapshot), *causes_of(snapshot), *map(progress_of, snapshot.running)]
        lines = [Text("  " + text, no_wrap=True, overflow="ellipsis") for text in texts]
        self._live.update(Group(head, _counters(job), *lines), refresh=True)

    def _told(self, snapshot: Snapshot) -> list[str]:
        """Return the lines on rollout, rate and what is left, and on why the job ended."""
        job = snapshot.job
        told = [rollout_of(snapshot.rollout)] if snapshot.rollout else []
        if self._pace.per_minute is not None and not snapshot.is_over:
            left = self._pace.seconds_left(snapshot)
            eta = f", about {span(left)} left" if left is not None else ""
            told.append(f"{self._pace.per_minute:.0f} a minute end{eta}")
        why = [printable(job[name]) for name in ("reasonCode", "comment") if job.get(name)]
        return told + ([": ".join(why)] if why else [])

    def ended(self, last: Snapshot, failures: Sequence[Described], failure_count: int) -> None:
        """Leave the last picture standing and write the summary under it."""
        self._live.stop()
        super().ended(last, failures, failure_count)


class JsonDisplay(_Base):
    """A line of JSON whenever something changed; the last one has `failures`."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._shown: object = None

    def show(self, snapshot: Snapshot) -> None:
        """Write the job, its executions in progress and its rollout, as the service describes them."""
        job, running, rollout = snapshot.job, snapshot.running, snapshot.rollout
        steady = [
            {k: v for k, v in each.items() if k != "approximateSecondsBeforeTimedOut"} for each in running
        ]
        if (job, steady, rollout) != self._shown:
            self._shown = (job, steady, rollout)
            line = {
                "now": snapshot.now,
                "job": job,
                "executions": list(running),
                "causes": _as_json(snapshot),
            }
            self._output.json_line(line | ({"rollout": rollout} if rollout else {}))

    def ended(self, last: Snapshot, failures: Sequence[Described], failure_count: int) -> None:
        """Write the job with what went wrong."""
        wrong = {"causes": _as_json(last), "failures": list(failures), "failureCount": failure_count}
        self._output.json_line({"job": last.job, **wrong})


def _as_json(snapshot: Snapshot) -> list[dict[str, Any]]:
    return [{"status": state, "reason": reason, "count": count} for state, reason, count in snapshot.causes]


def causes_of(snapshot: Snapshot) -> list[str]:
    """Return the causes of failures, the most frequent first, where devices have given reasons.

    Without reasons the counters say it all.
    """
    if not any(reason for _, reason, _ in snapshot.causes):
        return []
    shown = [told(cause) for cause in snapshot.causes[:CAUSES_SHOWN]]
    more = len(snapshot.causes) - CAUSES_SHOWN
    return shown + ([f"and {more} more causes"] if more > 0 else [])


def progress_of(execution: Described) -> str:
    """Return what a device last said: its step, then its other details."""
    details = dict(execution["statusDetails"]["detailsMap"])
    step = details.pop("step", "")
    said = [f"step {step}"] if step else []
    said += [f"{key} {value}" for key, value in sorted(details.items())]
    text = f"{thing_name(execution['thingArn'])}: {printable(', '.join(said)) or 'started'}"
    return text if len(text) <= DETAIL_CHARACTERS_MAX else text[: DETAIL_CHARACTERS_MAX - 3] + "..."


def rollout_of(rollout: Described) -> str:
    """Return how far a rollout has come, how fast it goes and when it is done."""
    rate = f", {rollout['perMinute']} a minute" if "perMinute" in rollout else ""
    ends_at = rollout.get("endsAt")
    done = f", done {clock_time(ends_at)}" if ends_at is not None else ", not done before the job's end"
    return f"rolled out to {rollout['notified']} of {rollout['things']}{rate}{done}"


def share_done(snapshot: Snapshot) -> float:
    """Return how many executions are done, steps of those in progress as fractions."""
    return snapshot.done_count + sum(map(_steps_done, snapshot.running))


def _counters(job: Described) -> Text:
    """Return the counters in the colors of their states."""
    details = job.get("jobProcessDetails", {})
    shown = [
        Text(f"{details[name]} {word}", STYLES.get(word.upper().replace(" ", "_"), ""))
        for name, word in COUNTERS.items()
        if details.get(name)
    ]
    return Text("  ") + Text(", ").join(shown or [Text("none yet")])


def _steps_done(execution: Described) -> float:
    step = _STEP.match(execution["statusDetails"]["detailsMap"].get("step", ""))
    number, count = (int(step[1]), int(step[2])) if step else (0, 0)
    return (number - 1) / count if 0 < number <= count else 0.0
