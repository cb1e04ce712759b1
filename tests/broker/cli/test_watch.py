"""`job watch`: when it is over, what it exits with, how it survives a broker's restart, what it shows."""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from tests.broker.cli.fakes import FakeConnection, FakeSession
from thingjobs_broker.cli import causes as causes_module
from thingjobs_broker.cli import watch as watching
from thingjobs_broker.cli.errors import RefusedError, UnreachableError
from thingjobs_broker.cli.exit_codes import ExitCode
from thingjobs_broker.cli.output import Output
from thingjobs_broker.cli.watch import watch
from thingjobs_broker.cli.watch_display import LiveDisplay, progress_of, rollout_of, share_done
from thingjobs_broker.cli.watched import Pace, Snapshot

ARN = "arn:aws:iot:local:000000000000:thing/"
SERVICE_TIME = 2_000_000_000.0
"""2033: the clock here is another one."""


def job(status: str, **counts: int) -> dict[str, Any]:
    """A job as DescribeJob shows it; counts by name, such as Succeeded=1."""
    details = {f"numberOf{name}Things": count for name, count in counts.items()}
    times = {"createdAt": 1000.0, "lastUpdatedAt": 1004.5}
    return {
        "jobId": "j",
        "status": status,
        "isConcurrent": False,
        "jobProcessDetails": details,
        **times,
    }


def summary(thing: str, status: str, number: int = 1) -> dict[str, Any]:
    """An entry of ListJobExecutionsForJob."""
    return {
        "thingArn": ARN + thing,
        "jobExecutionSummary": {"status": status, "executionNumber": number},
    }


def execution(thing: str, status: str, **details: str) -> dict[str, Any]:
    """An execution as DescribeJobExecution shows it."""
    return {"thingArn": ARN + thing, "status": status, "statusDetails": {"detailsMap": details}}


class Story:
    """A service that tells one job after the other, then stays with the last."""

    def __init__(
        self, *jobs: dict[str, Any] | Exception, executions: list[dict[str, Any]] | None = None
    ) -> None:
        self.jobs = list(jobs)
        self.executions = executions or []

    def answer(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "DescribeJob":
            told = self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0]
            if isinstance(told, Exception):
                raise told
            return {"job": told}
        if operation == "DescribeClock":
            return {"now": SERVICE_TIME, "isTestClock": True}
        if operation == "ListJobExecutionsForJob":
            wanted = members.get("status")
            shown = [e for e in self.executions if wanted in (None, e["jobExecutionSummary"]["status"])]
            return {"executionSummaries": shown[: members["maxResults"]]}
        found = next(e for e in self.executions if e["thingArn"] == ARN + members["thingName"])
        status = found["jobExecutionSummary"]["status"]
        return {"execution": execution(members["thingName"], status, reason=f"it is {status}")}

    def session(self, *, as_json: bool = False) -> FakeSession:
        return FakeSession(lambda: FakeConnection(self.answer), as_json=as_json)


async def watched(story: Story, *, as_json: bool = False) -> ExitCode:
    """The exit code of watching the story, without waiting between looks."""
    return await watch(story.session(as_json=as_json), "j", 0.001)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RECONNECT_SECONDS_MIN", 0.001)


@pytest.mark.parametrize(
    ("shown", "is_over"),
    [
        (job("IN_PROGRESS", Queued=1), False),
        (job("IN_PROGRESS", Succeeded=1), False),
        (job("SCHEDULED"), False),
        (job("COMPLETED", Succeeded=1), True),
        (job("CANCELED", Canceled=1), True),
        (job("CANCELED", Canceled=1, InProgress=1), False),
        ({**job("CANCELED", Canceled=1), "isConcurrent": True}, False),
    ],
)
def test_a_job_is_over_when_nothing_more_can_happen(shown: dict[str, Any], is_over: bool) -> None:
    """A canceled job still waits for what devices are working on (control plane 2.4)."""
    assert Snapshot(shown, SERVICE_TIME).is_over is is_over


@pytest.mark.asyncio
async def test_all_succeeded_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    """Each change is a line; the summary has the time it took."""
    story = Story(job("IN_PROGRESS", Queued=2), job("IN_PROGRESS", Queued=2), job("COMPLETED", Succeeded=2))
    assert await watched(story) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert [line[10:] for line in lines[:-1]] == ["IN_PROGRESS  2 queued", "COMPLETED  2 succeeded"]
    assert lines[-1] == "job j COMPLETED after 4.5 s: 2 succeeded"


@pytest.mark.asyncio
@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "REJECTED", "CANCELED", "REMOVED"])
async def test_one_thing_without_success_is_exit_code_1(
    status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The thing and what it said are shown."""
    name = {"TIMED_OUT": "TimedOut"}.get(status, status.capitalize())
    last = job("COMPLETED", Succeeded=1, **{name: 1})
    story = Story(last, executions=[summary("good", "SUCCEEDED"), summary("bad", status)])
    assert await watched(story) == ExitCode.NOT_SUCCEEDED
    assert f"  bad {status} it is {status}\n" in capsys.readouterr().out


@pytest.mark.asyncio
async def test_a_retry_that_succeeded_is_a_success() -> None:
    """Counters count attempts; the last attempt of each thing decides (control plane 2.3)."""
    executions = [summary("press-7", "FAILED", 1), summary("press-7", "SUCCEEDED", 2)]
    assert await watched(Story(job("COMPLETED", Failed=1, Succeeded=1), executions=executions)) == ExitCode.OK


@pytest.mark.asyncio
async def test_a_canceled_job_is_no_success() -> None:
    """Also when it was canceled before it had an execution, or after all had succeeded."""
    assert await watched(Story(job("CANCELED"))) == ExitCode.NOT_SUCCEEDED


@pytest.mark.asyncio
async def test_many_failures_are_counted_and_the_first_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A job that failed on a thousand things must not scroll its summary away."""
    executions = [summary(f"press-{number}", "FAILED") for number in range(25)]
    assert await watched(Story(job("COMPLETED", Failed=25), executions=executions)) == ExitCode.NOT_SUCCEEDED
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + 1 + 10 + 1
    assert lines[-1] == "  and 15 more"


@pytest.mark.asyncio
async def test_failures_are_counted_by_cause(capsys: pytest.CaptureFixture[str]) -> None:
    """By the reasons of devices; what the service has done has none; also those that a retry made good."""
    executions = [
        *(summary(f"f-{number}", "FAILED") for number in range(12)),
        *(summary("r-1", "REJECTED"), summary("t-1", "TIMED_OUT"), summary("t-1", "SUCCEEDED", 2)),
    ]
    last = job("COMPLETED", Failed=12, Rejected=1, TimedOut=1, Succeeded=1, Removed=3)
    assert await watched(Story(last, executions=executions)) == ExitCode.NOT_SUCCEEDED
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:6] == [
        "  12 failed: it is FAILED",
        "  3 removed",
        "  1 rejected: it is REJECTED",
        "  1 timed out",
    ]
    await watched(Story(last, executions=executions), as_json=True)
    causes = json.loads(capsys.readouterr().out.splitlines()[-1])["causes"]
    assert causes[0] == {"status": "FAILED", "reason": "it is FAILED", "count": 12}


@pytest.mark.asyncio
async def test_a_reason_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the job is looked at; beyond a limit only the counter tells."""
    monkeypatch.setattr(causes_module, "LOOKED_UP_MAX", 3)
    executions = [summary("a", "FAILED")]
    story = Story(job("COMPLETED"), executions=executions)
    connection, causes = FakeConnection(story.answer), causes_module.Causes()
    for counts in ({"Failed": 1}, {"Failed": 1}, {"Failed": 2}, {"Failed": 5}):
        executions[:] = [summary(name, "FAILED") for name in "abcde"[: counts["Failed"]]]
        await causes.update(connection, job("IN_PROGRESS", **counts))
    asked = [asked["thingName"] for operation, asked in connection.calls if operation[:9] == "DescribeJ"]
    assert asked == ["a", "b", "c"]
    assert causes.counted() == [("FAILED", "it is FAILED", 3), ("FAILED", "", 2)]


@pytest.mark.asyncio
async def test_a_lost_connection_is_told_once_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The broker may be restarted under a job; the same complaint is not repeated."""
    lost = UnreachableError("the connection was lost")
    story = Story(job("IN_PROGRESS", Queued=1), lost, lost, job("COMPLETED", Succeeded=1))
    assert await watched(story) == ExitCode.OK
    assert capsys.readouterr().err == "thingjobs: the connection was lost; trying again\n"


@pytest.mark.asyncio
async def test_a_job_that_is_not_there_ends_the_watch() -> None:
    """Refused is not lost: no second try."""
    with pytest.raises(RefusedError):
        await watched(Story(RefusedError("ResourceNotFoundException", "Job j not found")))


@pytest.mark.asyncio
async def test_events_of_the_job_are_subscribed() -> None:
    """Both kinds, under the topic root (data plane 8)."""
    session = Story(job("COMPLETED", Succeeded=1)).session()
    await watch(session, "j", 1.0)  # type: ignore[arg-type]
    assert session.connections[0].subscriptions == ["$aws/events/job/j/+", "$aws/events/jobExecution/j/+"]


@pytest.mark.asyncio
async def test_an_event_is_not_waited_for_when_it_came_during_the_look() -> None:
    """Between asking and waiting nothing may get lost: an event that arrives meanwhile asks again at once."""
    story = Story(job("IN_PROGRESS", Queued=1), job("COMPLETED", Succeeded=1))

    def answer(operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        session.connections[-1].changed.set()
        return story.answer(operation, members)

    session = FakeSession(lambda: FakeConnection(answer))
    assert await watch(session, "j", 3600.0) == ExitCode.OK  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_json_is_a_line_for_each_change_and_one_for_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is one JSON value; the last has the failures."""
    executions = [summary("press-7", "IN_PROGRESS")]
    story = Story(
        job("IN_PROGRESS", InProgress=1),
        job("IN_PROGRESS", InProgress=1),
        job("COMPLETED", Succeeded=1),
        executions=executions,
    )
    assert await watched(story, as_json=True) == ExitCode.OK
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["job"]["status"] for line in lines] == ["IN_PROGRESS", "COMPLETED", "COMPLETED"]
    assert lines[0]["executions"][0]["thingArn"] == ARN + "press-7"
    assert (lines[-1]["failures"], lines[-1]["failureCount"]) == ([], 0)


def test_progress_is_the_step_and_what_the_handler_said() -> None:
    """On one line of bounded length, printable."""
    assert (
        progress_of(execution("p", "IN_PROGRESS", step="2/3 Write", b="2", a="1"))
        == "p: step 2/3 Write, a 1, b 2"
    )
    assert progress_of(execution("p", "IN_PROGRESS")) == "p: started"
    shown = progress_of(execution("p", "IN_PROGRESS", a="\x1b[2J" + "x" * 1000))
    assert len(shown) == 100
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("counts", "steps", "share"),
    [
        ({}, [], (0, 0)),
        ({"Succeeded": 1, "Queued": 1}, [], (1, 2)),
        ({"InProgress": 2}, ["2/4 Write", "1/2 Read"], (0.25, 2)),
        ({"InProgress": 1}, ["9/3 nonsense", "0/0 x", "no step"], (0, 1)),
    ],
)
def test_steps_of_running_executions_count_as_fractions(
    counts: dict[str, int], steps: list[str], share: tuple[float, int]
) -> None:
    """So that the bar of a job for one thing moves; what a device says cannot break it."""
    running = [execution("p", "IN_PROGRESS", step=step) for step in steps]
    snapshot = Snapshot(job("IN_PROGRESS", **counts), SERVICE_TIME, tuple(running))
    assert (share_done(snapshot), snapshot.thing_count) == share


ROLLOUT = {"things": 500, "notified": 120, "perMinute": 50, "endsAt": 1_700_000_480.0}


def test_a_rollout_tells_how_far_it_is_and_when_it_is_done() -> None:
    """The bar counts what is still to come; the other members of the details are no counters."""
    details = job("IN_PROGRESS", Succeeded=20, Queued=100)
    details["jobProcessDetails"]["processingTargets"] = ["arn:aws:iot:local:000000000000:thinggroup/g"]
    snapshot = Snapshot(details, SERVICE_TIME, rollout=ROLLOUT)
    assert (snapshot.thing_count, snapshot.done_count) == (500, 20)
    assert rollout_of(ROLLOUT).startswith("rolled out to 120 of 500, 50 a minute, done 2023-11-14T")
    endless = {"things": 500, "notified": 120}
    assert rollout_of(endless) == "rolled out to 120 of 500, not done before the job's end"


@pytest.mark.asyncio
async def test_a_rollout_is_asked_for_while_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """And a line of its own changes only when it does."""
    rolling = job("IN_PROGRESS", Queued=120)
    rolling["jobProcessDetails"]["processingTargets"] = ["arn"]
    story = Story(rolling, rolling, job("COMPLETED", Succeeded=500))

    def answer(operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        return ROLLOUT if operation == "DescribeJobRollout" else story.answer(operation, members)

    session = FakeSession(lambda: FakeConnection(answer))
    assert await watch(session, "j", 0.001) == ExitCode.OK  # type: ignore[arg-type]
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("; ")[2].partition(",")[0] for line in lines[:1]] == ["rolled out to 120 of 500"]
    assert len(lines) == 3


def after(seconds: float, done: int, **members: Any) -> Snapshot:
    """What a look sees then, of 120 things."""
    counts = {"Succeeded": done, "Queued": 120 - done}
    return Snapshot(job("IN_PROGRESS", **counts), SERVICE_TIME + seconds, **members)


def test_the_rate_is_that_of_the_last_minute() -> None:
    """Not of the first hour, in which nothing happened."""
    pace = Pace()
    assert pace.per_minute is None
    pace.note(after(0, 0))
    pace.note(after(1, 5))
    assert pace.per_minute is None
    pace.note(after(10, 5))
    assert pace.per_minute == 30
    for second in range(20, 3600, 10):
        pace.note(after(second, 5))
    assert pace.per_minute is None
    pace.note(after(3600, 15))
    assert pace.per_minute == 10


def test_a_clock_that_is_set_back_begins_a_new_rate() -> None:
    """What was seen before would stay in sight until the clock is there again."""
    pace = Pace()
    for seconds, done in ((3600, 0), (3610, 10), (0, 10), (5, 20)):
        pace.note(after(seconds, done))
    assert pace.per_minute == 120


def test_what_is_left_takes_as_long_as_the_rollout_at_least() -> None:
    """Fast devices do not make up for a slow rate; without an end in sight nothing is said."""
    pace = Pace()
    pace.note(after(0, 0))
    pace.note(after(60, 20))
    assert pace.seconds_left(after(60, 20)) == 300
    late = {**ROLLOUT, "things": 120, "endsAt": SERVICE_TIME + 9000}
    assert pace.seconds_left(after(60, 20, rollout=late)) == 8940
    assert pace.seconds_left(after(60, 20, rollout={"things": 500, "notified": 120})) is None


def test_the_times_on_the_screen_are_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop's clock may be wrong, and that of a service under test years away: age, rate and rest hold."""
    output = Output(as_json=False)
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, color_system=None, width=120)
    monkeypatch.setattr(output, "console", console)
    begun = {"createdAt": SERVICE_TIME - 3600}
    late = {**ROLLOUT, "things": 120, "endsAt": SERVICE_TIME + 60 + 7200}
    with LiveDisplay(output) as display:
        for snapshot in (after(0, 0), after(60, 20), after(60, 20, rollout=late)):
            display.show(replace(snapshot, job={**snapshot.job, **begun}))
    shown = written.getvalue()
    assert re.findall(r"%\s+(\d.*?) *[\r\n]", shown)[:2] == ["1 h", "1 h 1 min"]
    lefts = re.findall(r"20 a minute end, about (.*?) left", shown)
    assert list(dict.fromkeys(lefts)) == ["5 min", "2 h"]


@pytest.mark.asyncio
async def test_lines_have_the_services_time(capsys: pytest.CaptureFixture[str]) -> None:
    """That of the events and of what the rollout tells; as JSON it is a member."""
    story = Story(job("COMPLETED", Succeeded=1))
    await watched(story)
    shown = datetime.fromtimestamp(SERVICE_TIME, UTC).astimezone()
    assert capsys.readouterr().out.startswith(f"{shown:%H:%M:%S}  COMPLETED")
    await watched(story, as_json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[0])["now"] == SERVICE_TIME
