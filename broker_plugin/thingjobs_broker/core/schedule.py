"""When a job may run: startTime, endTime and what it does, maintenance windows (spec: control plane 6). All
times are UTC. Decides phases and moments; the job's status and its executions are changed elsewhere.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from thingjobs_broker.core import cron
from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_protocol.status import JobExecutionStatus, TargetSelection

MINUTE_MS: Final = 60_000
LEAD_MINUTES_MIN: Final = 30
START_YEARS_MAX: Final = 1
END_YEARS_MAX: Final = 2
"""Spec: control plane 6.1."""

WINDOW_MINUTES_MAX: Final = 1430
STARTS_SHOWN: Final = 7
"""Spec: control plane 6.1, 6.3."""

WINDOWS_MAX: Final = 20
"""Our own bound of the work of one look; AWS names none."""

_EXTENSIONS_MAX: Final = 20
"""Windows that follow each other without a gap are followed so far; then one looks again."""

_DATE_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?: ?(Z)| ?([+-])(\d\d):?(\d\d))?",
    re.ASCII | re.IGNORECASE,
)
_EPOCH_SECONDS: Final = re.compile(r"\d{1,11}(?:\.\d{1,9})?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class EndBehavior(StrEnum):
    """What happens at endTime."""

    STOP_ROLLOUT = "STOP_ROLLOUT"
    CANCEL = "CANCEL"
    FORCE_CANCEL = "FORCE_CANCEL"


CANCELED_AT_END: Final[dict[EndBehavior, frozenset[JobExecutionStatus]]] = {
    EndBehavior.STOP_ROLLOUT: frozenset(),
    EndBehavior.CANCEL: frozenset({JobExecutionStatus.QUEUED}),
    EndBehavior.FORCE_CANCEL: frozenset({JobExecutionStatus.QUEUED, JobExecutionStatus.IN_PROGRESS}),
}
"""Which executions endTime cancels (spec: control plane 6.2, V14). With each of them: no further rollout, no
retries, no joiners, and the job is COMPLETED (never CANCELED, A13) once every execution is terminal.
"""

Time = Annotated[str, Meta(min_length=1, max_length=64)]


class MaintenanceWindow(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """A recurring window. Use it as the member's type: decoding refuses what is no AWS cron expression."""

    start_time: Annotated[str, Meta(min_length=1, max_length=cron.EXPRESSION_CHARACTERS_MAX)]
    duration_in_minutes: Annotated[int, Meta(ge=1, le=WINDOW_MINUTES_MAX)]

    def __post_init__(self) -> None:
        """Refuse a startTime that is no AWS cron expression."""
        cron.parse(self.start_time)


MaintenanceWindows = Annotated[list[MaintenanceWindow], Meta(min_length=1, max_length=WINDOWS_MAX)]
"""Of jobs and templates alike, or a job could not take a template's."""


class SchedulingConfig(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """`schedulingConfig`. Decoding checks formats; `check` what depends on now and on the job.

    endBehavior without endTime is accepted, echoed and has no effect (A15).
    """

    start_time: Time | None = None
    end_time: Time | None = None
    end_behavior: EndBehavior | None = None
    maintenance_windows: MaintenanceWindows | None = None

    def __post_init__(self) -> None:
        """Refuse times in no known format."""
        for member, text in (("startTime", self.start_time), ("endTime", self.end_time)):
            if text is not None:
                parse_time(member, text)


class Phase(Enum):
    """Where a job stands in its schedule. WAITING and CLOSED are SCHEDULED, OPEN is IN_PROGRESS."""

    WAITING = "startTime is not reached"
    CLOSED = "outside the maintenance windows"
    OPEN = "executions are created and shown to devices"
    ENDED = "endTime has passed"


class _Window(msgspec.Struct, frozen=True):
    times: cron.Cron
    duration_minutes: int


class Schedule(msgspec.Struct, frozen=True):
    """A schedule ready to be asked. Times in ms since the epoch, 0 = none. Make it with `compiled`."""

    start_ms: int = 0
    end_ms: int = 0
    end_behavior: EndBehavior = EndBehavior.STOP_ROLLOUT
    windows: tuple[_Window, ...] = ()
    """Without any, the job is open from its start to its end."""


def compiled(config: SchedulingConfig | None) -> Schedule:
    """Return the schedule of a job. It costs some parsing: keep it with the job as long as that is active."""
    if config is None:
        return Schedule()
    windows = [
        _Window(cron.parse(window.start_time), window.duration_in_minutes)
        for window in config.maintenance_windows or ()
    ]
    return Schedule(
        parse_time("startTime", config.start_time) if config.start_time else 0,
        parse_time("endTime", config.end_time) if config.end_time else 0,
        config.end_behavior or EndBehavior.STOP_ROLLOUT,
        tuple(windows),
    )


def check(config: SchedulingConfig, target_selection: TargetSelection, now_ms: int) -> None:
    """Check what CreateJob may ask for now (spec: control plane 6.1). Call it once, with the windows of the
    template merged in.

    Raises:
        InvalidRequestError: startTime not 30 minutes to 1 year ahead (V12), endTime not 30 minutes after
            startTime (or now) to 2 years ahead, windows with a SNAPSHOT job, or windows that never open.

    """
    schedule = compiled(config)
    lead_ms = LEAD_MINUTES_MIN * MINUTE_MS
    if config.start_time is not None:
        _check_span("startTime", schedule.start_ms, now_ms + lead_ms, _years_later(now_ms, START_YEARS_MAX))
    if config.end_time is not None:
        earliest_ms = max(schedule.start_ms, now_ms) + lead_ms
        _check_span("endTime", schedule.end_ms, earliest_ms, _years_later(now_ms, END_YEARS_MAX))
    if not schedule.windows:
        return
    if target_selection is not TargetSelection.CONTINUOUS:
        message = "schedulingConfig.maintenanceWindows is for CONTINUOUS jobs, not for SNAPSHOT"
        raise InvalidRequestError(message)
    # A job that waits for ever has no way out, so it is refused where it can be seen.
    if _next_start(schedule, max(now_ms, schedule.start_ms)) is None:
        message = (
            "schedulingConfig.maintenanceWindows never opens again; expected a cron expression with a future"
        )
        raise InvalidRequestError(message)


def phase(schedule: Schedule, now_ms: int) -> Phase:
    """Return where a job stands. Without a schedule it is OPEN.

    A window counts only if it opens at or after startTime; windows that overlap or touch are one (spec:
    control plane 6.3). Ask at creation, for the job's first status, and at each `next_look_ms`; in between
    the job's status tells, also whether its QUEUED executions are shown to devices.
    """
    if schedule.end_ms and now_ms >= schedule.end_ms:
        return Phase.ENDED
    if now_ms < schedule.start_ms:
        return Phase.WAITING
    if not schedule.windows or _open_until(schedule, now_ms) is not None:
        return Phase.OPEN
    return Phase.CLOSED


def next_look_ms(schedule: Schedule, now_ms: int) -> int | None:
    """Return when to ask for the phase again, None when it stays. Never later than the phase changes; it may
    be earlier where windows follow each other without a gap for very long. Bounded work.
    """
    where = phase(schedule, now_ms)
    if where is Phase.ENDED:
        return None
    if where is Phase.WAITING:
        change_ms: int | None = schedule.start_ms
    elif not schedule.windows:
        change_ms = None
    elif where is Phase.CLOSED:
        change_ms = _next_start(schedule, now_ms)
    else:
        change_ms = _closing_ms(schedule, now_ms)
    if schedule.end_ms:
        return min(change_ms or schedule.end_ms, schedule.end_ms)
    return change_ms


def next_opening_ms(schedule: Schedule, now_ms: int) -> int | None:
    """Return when a job that is not OPEN will be, None if never: its endTime comes first or has passed."""
    from_ms = max(now_ms, schedule.start_ms)
    opening_ms = _next_start(schedule, from_ms) if schedule.windows else from_ms
    if opening_ms is None or (schedule.end_ms and opening_ms >= schedule.end_ms):
        return None
    return opening_ms


def next_starts(schedule: Schedule, now_ms: int, count: int = STARTS_SHOWN) -> list[str]:
    """Return the next window starts for scheduledJobRollouts, as `YYYY-MM-DD HH:MM` (spec: control plane 2.1,
    6.3). Empty without windows and after the last one.
    """
    starts: list[str] = []
    from_ms = max(now_ms, schedule.start_ms)
    while len(starts) < count:
        start_ms = _next_start(schedule, from_ms)
        if start_ms is None or (schedule.end_ms and start_ms >= schedule.end_ms):
            break
        starts.append(shown(start_ms))
        from_ms = start_ms + MINUTE_MS
    return starts


def parse_time(member: str, text: str) -> int:
    """Return the time in ms since the epoch of `YYYY-MM-DD HH:MM`, ISO 8601 or epoch seconds in digits (spec:
    control plane 6.1). Without an offset it is UTC.

    Raises:
        ValueError: neither of them; the message names `member`.

    """
    if _EPOCH_SECONDS.fullmatch(text):
        seconds, _, fraction = text.partition(".")
        return int(seconds) * 1000 + int(fraction.ljust(3, "0")[:3])
    found = _DATE_TIME.fullmatch(text)
    if found:
        year, month, day, hour, minute = (int(part) for part in found.group(1, 2, 3, 4, 5))
        milliseconds = int((found[7] or "").ljust(3, "0")[:3])
        try:
            zone = _zone(found[9], found[10], found[11])
            moment = datetime(year, month, day, hour, minute, int(found[6] or 0), tzinfo=zone)
            # In UTC it must still be a year that a date can have.
            return (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1) + milliseconds
        except (ValueError, OverflowError):
            pass
    message = f"{member} must be YYYY-MM-DD HH:MM or ISO 8601, not {text[:64]!r}"
    raise ValueError(message)


def shown(at_ms: int) -> str:
    """Return a time as `YYYY-MM-DD HH:MM`, UTC."""
    return f"{_EPOCH + timedelta(milliseconds=at_ms):%Y-%m-%d %H:%M}"


def _zone(sign: str | None, hours: str, minutes: str) -> timezone:
    if sign is None:
        return UTC
    if int(minutes) > 59:
        message = "The minutes of an offset"
        raise ValueError(message)
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-offset if sign == "-" else offset)


def _check_span(member: str, at_ms: int, earliest_ms: int, latest_ms: int) -> None:
    if not earliest_ms <= at_ms <= latest_ms:
        span = f"{shown(earliest_ms)} to {shown(latest_ms)} UTC"
        message = f"schedulingConfig.{member} must be {span}, not {shown(at_ms)}"
        raise InvalidRequestError(message)


def _years_later(at_ms: int, years: int) -> int:
    """Return the same date so many years later; 29 February becomes 1 March where there is none."""
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    try:
        later = moment.replace(year=moment.year + years)
    except ValueError:
        later = moment.replace(year=moment.year + years, month=3, day=1)
    return (later - _EPOCH) // timedelta(milliseconds=1)


def _next_start(schedule: Schedule, from_ms: int) -> int | None:
    """Return when the next window starts, at or after `from_ms`."""
    minute = -(-from_ms // MINUTE_MS)
    starts = [start for window in schedule.windows if (start := window.times.first_from(minute)) is not None]
    return min(starts) * MINUTE_MS if starts else None


def _open_until(schedule: Schedule, at_ms: int) -> int | None:
    """Return when the last of the windows that are open at `at_ms` closes, None if none is open."""
    ends = []
    for window in schedule.windows:
        # All openings of one window last equally long, so the latest start decides.
        start = window.times.last_until(at_ms // MINUTE_MS)
        if start is not None and start * MINUTE_MS >= schedule.start_ms:
            ends.append((start + window.duration_minutes) * MINUTE_MS)
    end_ms = max(ends, default=0)
    return end_ms if end_ms > at_ms else None


def _closing_ms(schedule: Schedule, now_ms: int) -> int:
    """Return when the windows that are open now close; earlier, if that is very far away."""
    end_ms = now_ms
    for _ in range(_EXTENSIONS_MAX):
        until_ms = _open_until(schedule, end_ms)
        if until_ms is None:
            break
        end_ms = until_ms
    return end_ms
