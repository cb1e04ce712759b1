"""When a job may run (control plane 6): what may be asked for, phases, windows, what endTime does."""

from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis
import hypothesis.strategies as st
import msgspec
import pytest

from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_broker.core.schedule import (
    CANCELED_AT_END,
    EndBehavior,
    Phase,
    Schedule,
    SchedulingConfig,
    check,
    compiled,
    next_look_ms,
    next_opening_ms,
    next_starts,
    parse_time,
    phase,
    shown,
)
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import TargetSelection

MINUTE_MS = 60_000
DAILY = "cron(0 10 * * ? *)"


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW_MS = ms("2026-01-01 11:30")


def window(start_time: str, minutes: int) -> dict[str, Any]:
    return {"startTime": start_time, "durationInMinutes": minutes}


def config(*windows: dict[str, Any], **members: str) -> SchedulingConfig:
    body: dict[str, Any] = dict(members)
    if windows:
        body["maintenanceWindows"] = list(windows)
    return msgspec.convert(body, SchedulingConfig)


def accepted(of: SchedulingConfig, selection: TargetSelection = TargetSelection.CONTINUOUS) -> bool:
    try:
        check(of, selection, NOW_MS)
    except InvalidRequestError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01 10:05",
        "2026-03-01T10:05",
        "2026-03-01T10:05:00",
        "2026-03-01T10:05:00.000Z",
        "2026-03-01T10:05Z",
        "2026-03-01 12:05:00+02:00",
        "2026-03-01T04:35-0530",
        str(ms("2026-03-01 10:05") // 1000),
        f"{ms('2026-03-01 10:05') // 1000}.000",
    ],
)
def test_a_time_may_be_written_in_any_known_format(text: str) -> None:
    """Control plane 6.1: the guide's format, ISO 8601, epoch seconds in digits; no offset is UTC."""
    assert parse_time("startTime", text) == ms("2026-03-01 10:05")
    assert shown(ms("2026-03-01 10:05")) == "2026-03-01 10:05"


@pytest.mark.parametrize(
    "text",
    [
        *("", "tomorrow", "2026-03-01", "2026-13-01 10:05", "2026-02-29 10:05", "2026-03-01 24:05", "10:05"),
        *("2026-03-01 10:05 CET", "2026-03-01T10:05+25:00", "2026-03-01T10:05+01:75", "0000-01-01 00:00"),
        *("-5", "1e9", "9999-12-31T23:59-12:00", "0001-01-01T00:00+12:00", "2026-03-01 10:05\n", "9" * 30),
    ],
)
def test_a_time_in_another_format_is_refused(text: str) -> None:
    """Control plane 6.1; the message names the member."""
    with pytest.raises(msgspec.ValidationError) as refused:
        config(endTime=text)
    assert "endTime" in str(refused.value)


@hypothesis.given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    """Bad input gets an error of its own, and what is accepted can be shown."""
    try:
        at_ms = parse_time("startTime", text)
    except ValueError:
        return
    shown(at_ms)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2026-01-01 11:40", False),
        ("2026-01-01 11:59", False),
        ("2026-01-01 12:00", True),
        ("2027-01-01 11:30", True),
        ("2027-01-01 11:31", False),
        ("2025-12-31 12:00", False),
        ("0", False),
        ("99999999999", False),
    ],
)
def test_v12_a_start_lies_30_minutes_to_one_year_ahead(start: str, expected: bool) -> None:
    """V12 (now + 10 minutes) and control plane 6.1."""
    assert accepted(config(startTime=start), TargetSelection.SNAPSHOT) is expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"endTime": "2026-01-01 11:59"}, False),
        ({"endTime": "2026-01-01 12:00"}, True),
        ({"endTime": "2028-01-01 11:30"}, True),
        ({"endTime": "2028-01-01 11:31"}, False),
        ({"startTime": "2026-06-01 00:00", "endTime": "2026-06-01 00:29"}, False),
        ({"startTime": "2026-06-01 00:00", "endTime": "2026-06-01 00:30"}, True),
        ({"startTime": "2026-06-01 00:00", "endTime": "2026-05-01 00:00"}, False),
        ({"startTime": "2026-06-01 00:00", "endTime": "2028-01-01 11:30"}, True),
        ({"startTime": "2026-06-01 00:00", "endTime": "2028-05-01 00:00"}, False),
        ({"endTime": "0"}, False),
    ],
)
def test_an_end_lies_30_minutes_after_the_start_and_within_two_years(
    members: dict[str, str], expected: bool
) -> None:
    """Control plane 6.1, endTime: counted from startTime, or now, and at most 2 years after creation."""
    assert accepted(config(**members)) is expected


def test_a_year_after_a_leap_day_ends_on_the_first_of_march() -> None:
    """Control plane 6.1: one year is the same date of the next year."""
    leap_day_ms = ms("2028-02-29 00:00")
    check(config(startTime="2029-03-01 00:00"), TargetSelection.SNAPSHOT, leap_day_ms)
    with pytest.raises(InvalidRequestError):
        check(config(startTime="2029-03-01 00:01"), TargetSelection.SNAPSHOT, leap_day_ms)


def test_windows_are_for_continuous_jobs() -> None:
    """Control plane 2.5, 6.1."""
    assert accepted(config(window(DAILY, 60)), TargetSelection.CONTINUOUS)
    assert not accepted(config(window(DAILY, 60)), TargetSelection.SNAPSHOT)


@pytest.mark.parametrize("cron", ["0 0 1 1 ? 2020", "0 0 31 2 ? *"])
def test_a_window_that_never_opens_is_refused(cron: str) -> None:
    """No state without a way out: such a job would stay SCHEDULED for ever."""
    assert not accepted(config(window(cron, 60)))
    assert accepted(config(window(cron, 60), window(DAILY, 60)))


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"maintenanceWindows": []}, "maintenanceWindows"),
        ({"maintenanceWindows": [window(DAILY, 0)]}, "durationInMinutes"),
        ({"maintenanceWindows": [window(DAILY, 1431)]}, "durationInMinutes"),
        ({"maintenanceWindows": [window("0 10 * * * *", 60)]}, "Exactly one"),
        ({"maintenanceWindows": [{"startTime": DAILY}]}, "durationInMinutes"),
        ({"maintenanceWindows": [window(DAILY, 60)] * 21}, "maintenanceWindows"),
        ({"endBehavior": "DELETE"}, "endBehavior"),
        ({"startTime": ""}, "startTime"),
        ({"startTime": "2" * 65}, "startTime"),
    ],
)
def test_a_configuration_out_of_its_range_is_refused(body: dict[str, Any], fault: str) -> None:
    """Control plane 1.3, 6.1."""
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(body, SchedulingConfig)
    assert fault in str(refused.value)


def test_an_end_behavior_without_an_end_is_echoed_and_ignored() -> None:
    """A15."""
    alone = config(endBehavior="CANCEL")
    assert accepted(alone)
    assert msgspec.to_builtins(alone) == {"endBehavior": "CANCEL"}
    assert phase(compiled(alone), NOW_MS) is Phase.OPEN
    assert next_look_ms(compiled(alone), NOW_MS) is None


@pytest.mark.parametrize(
    ("behavior", "canceled"),
    [
        (None, set()),
        ("STOP_ROLLOUT", set()),
        ("CANCEL", {Status.QUEUED}),
        ("FORCE_CANCEL", {Status.QUEUED, Status.IN_PROGRESS}),
    ],
)
def test_v14_what_the_end_cancels(behavior: str | None, canceled: set[Status]) -> None:
    """V14 and control plane 6.2; STOP_ROLLOUT when none is given."""
    members = {"endBehavior": behavior} if behavior else {}
    schedule = compiled(config(endTime="2026-01-01 13:00", **members))
    assert CANCELED_AT_END[schedule.end_behavior] == canceled
    assert set(CANCELED_AT_END) == set(EndBehavior)


def walk(schedule: Schedule, now_ms: int, looks: int) -> list[tuple[str, str]]:
    """The phase now and at each next look."""
    found: list[tuple[str, str]] = []
    at_ms: int | None = now_ms
    while at_ms is not None and len(found) < looks:
        found.append((shown(at_ms)[5:], phase(schedule, at_ms).name))
        at_ms = next_look_ms(schedule, at_ms)
    return found


def test_v13_a_daily_window_of_a_job_created_after_it() -> None:
    """V13: SCHEDULED at 11:30, IN_PROGRESS at 10:00, SCHEDULED at 11:00."""
    assert walk(compiled(config(window(DAILY, 60))), NOW_MS, 4) == [
        ("01-01 11:30", "CLOSED"),
        ("01-02 10:00", "OPEN"),
        ("01-02 11:00", "CLOSED"),
        ("01-03 10:00", "OPEN"),
    ]


def test_a_job_without_windows_waits_runs_and_ends() -> None:
    """Control plane 2.2: SCHEDULED until startTime, then open until endTime."""
    schedule = compiled(config(startTime="2026-01-01 13:00", endTime="2026-01-01 15:00"))
    assert walk(schedule, NOW_MS, 9) == [
        ("01-01 11:30", "WAITING"),
        ("01-01 13:00", "OPEN"),
        ("01-01 15:00", "ENDED"),
    ]
    assert walk(compiled(None), NOW_MS, 9) == [("01-01 11:30", "OPEN")]


def test_a_start_within_a_window_waits_for_the_next_one() -> None:
    """Control plane 6.3: the first opening at or after startTime."""
    schedule = compiled(config(window(DAILY, 60), startTime="2026-01-02 10:30"))
    assert walk(schedule, NOW_MS, 4) == [
        ("01-01 11:30", "WAITING"),
        ("01-02 10:30", "CLOSED"),
        ("01-03 10:00", "OPEN"),
        ("01-03 11:00", "CLOSED"),
    ]
    at_start = compiled(config(window(DAILY, 60), startTime="2026-01-02 10:00"))
    assert phase(at_start, ms("2026-01-02 10:00")) is Phase.OPEN


def test_a_job_created_within_a_window_is_open_at_once() -> None:
    """Control plane 2.2: SCHEDULED only "while outside one"."""
    assert phase(compiled(config(window(DAILY, 120))), NOW_MS) is Phase.OPEN


def test_the_end_falls_into_a_window() -> None:
    """Control plane 6.3: the job leaves IN_PROGRESS at endTime."""
    schedule = compiled(config(window(DAILY, 60), endTime="2026-01-02 10:30"))
    assert walk(schedule, NOW_MS, 9)[1:] == [("01-02 10:00", "OPEN"), ("01-02 10:30", "ENDED")]


def test_windows_that_overlap_or_touch_are_one() -> None:
    """Control plane 6.3: union of intervals."""
    three = (window("0 10 * * ? *", 60), window("30 10 * * ? *", 60), window("30 11 * * ? *", 15))
    assert walk(compiled(config(*three)), NOW_MS, 4) == [
        ("01-01 11:30", "OPEN"),
        ("01-01 11:45", "CLOSED"),
        ("01-02 10:00", "OPEN"),
        ("01-02 11:45", "CLOSED"),
    ]


def test_windows_without_a_gap_are_looked_at_now_and_then() -> None:
    """Bounded work: a job that is always open is looked at again after a bounded number of windows."""
    schedule = compiled(config(window("* * * * ? *", 1)))
    look_ms = next_look_ms(schedule, NOW_MS)
    assert look_ms is not None
    assert NOW_MS + 10 * MINUTE_MS <= look_ms <= NOW_MS + 60 * MINUTE_MS
    assert phase(schedule, look_ms) is Phase.OPEN


def test_the_next_seven_starts_are_told() -> None:
    """Control plane 2.1, 6.3: scheduledJobRollouts; of several windows, each moment once."""
    both = config(window(DAILY, 60), window("0 10,22 ? * FRI *", 60))
    assert next_starts(compiled(both), NOW_MS) == [
        *("2026-01-02 10:00", "2026-01-02 22:00", "2026-01-03 10:00", "2026-01-04 10:00"),
        *("2026-01-05 10:00", "2026-01-06 10:00", "2026-01-07 10:00"),
    ]
    assert next_starts(compiled(None), NOW_MS) == []
    late = config(window(DAILY, 60), startTime="2026-02-01 10:00", endTime="2026-02-03 10:00")
    assert next_starts(compiled(late), NOW_MS) == ["2026-02-01 10:00", "2026-02-02 10:00"]
    assert next_starts(compiled(config(window("0 0 1 1 ? 2027", 5))), NOW_MS) == ["2027-01-01 00:00"]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, "2026-01-02 10:00"),
        ({"startTime": "2026-01-05 10:01"}, "2026-01-06 10:00"),
        ({"endTime": "2026-01-02 09:00"}, None),
    ],
)
def test_the_next_opening_is_known(members: dict[str, str], expected: str | None) -> None:
    """For `why` and previews: when a job that is not open will be, if ever."""
    opening_ms = next_opening_ms(compiled(config(window(DAILY, 60), **members)), NOW_MS)
    assert (opening_ms and shown(opening_ms)) == expected


windows = st.lists(
    st.tuples(
        st.sampled_from(
            [
                DAILY,
                "*/7 9-11 * * ? *",
                "30 23 ? * MON-FRI *",
                "0 0 1 * ? *",
                "0 */2 ? * 1#1 *",
                "0 * * * ? *",
            ]
        ),
        st.sampled_from([1, 7, 60, 119, 1430]),
    ),
    min_size=1,
    max_size=3,
)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(windows, st.integers(0, 40 * 1440), st.booleans())
def test_between_two_looks_the_phase_stays(
    given: list[tuple[str, int]], minutes: int, has_start: bool
) -> None:
    """Against every minute in between; and what is open is what some window's own minutes cover."""
    members = {"startTime": "2026-01-10 10:30"} if has_start else {}
    schedule = compiled(config(*(window(*one) for one in given), **members))
    now_ms = NOW_MS + minutes * MINUTE_MS
    look_ms = next_look_ms(schedule, now_ms)
    assert look_ms is not None
    assert look_ms > now_ms
    where = phase(schedule, now_ms)
    span = min((look_ms - now_ms) // MINUTE_MS, 3000)
    assert all(phase(schedule, now_ms + late * MINUTE_MS) is where for late in range(0, span, 7))
    assert phase(schedule, look_ms - 1) is where
    not_before = ms("2026-01-10 10:30") if has_start else 0
    covered = any(
        one.times.first_from(minute) == minute
        for one in schedule.windows
        for ago in range(one.duration_minutes)
        if (minute := now_ms // MINUTE_MS - ago) * MINUTE_MS >= not_before
    )
    assert (where is Phase.OPEN) is covered


def test_the_year_of_a_schedule_far_ahead_is_no_trap() -> None:
    """A clock that stands far beyond the last fire time finds nothing and fails nothing."""
    schedule = compiled(config(window(DAILY, 60)))
    beyond_ms = int(
        (datetime(2300, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1)
    )
    assert phase(schedule, beyond_ms) is Phase.CLOSED
    assert next_look_ms(schedule, beyond_ms) is None
    assert next_starts(schedule, beyond_ms) == []
