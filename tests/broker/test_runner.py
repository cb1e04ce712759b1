"""The driver of the core: durable before visible, in order, in groups; timers; what happens when the disk
fails.
"""

import asyncio
from pathlib import Path

import pytest

from tests.broker.at_work import AtWork, at_work
from tests.broker.core.world import START_S
from thingjobs_broker import runner as runner_module
from thingjobs_broker.core import lifecycle, service
from thingjobs_broker.core.outcome import Message
from thingjobs_broker.core.records import ClockStepped, ExecutionChanged, ServiceStarted
from thingjobs_broker.core.service import TIME_KEPT_MS
from thingjobs_broker.runner import CLOCK_CHECK_SECONDS
from thingjobs_broker.store.errors import JournalFailed
from thingjobs_broker.store.record_codec import unpack
from thingjobs_protocol.status import JobExecutionStatus

UPDATE = "$aws/things/T/jobs/J/update"


# Durable before visible.


@pytest.mark.asyncio
async def test_nothing_is_said_before_it_is_durable() -> None:
    """Promise 1: neither reply nor notification nor acknowledgment; and then all of it, in order."""
    async with at_work() as working:
        await working.running_job()
        working.forget()
        working.disk.hold()
        working.device("J/update", status="SUCCEEDED")
        await working.turns()
        assert working.log == []
        before = working.disk.position
        working.disk.let_go()
        await working.answered(UPDATE)
        assert working.durable_at[f"{UPDATE}/accepted"] == before + 1
        assert working.log == [
            f"{UPDATE}/accepted",
            *("$aws/things/T/jobs/notify", "$aws/things/T/jobs/notify-next"),
            *("$aws/events/jobExecution/J/succeeded", "$aws/events/job/J/completed"),
            *(f"settled {UPDATE}", "flush"),
        ]


@pytest.mark.asyncio
async def test_what_queues_during_a_sync_shares_the_next_one() -> None:
    """Group commit: one entry for each change, one sync for all that waited."""
    async with at_work() as working:
        await working.running_job()
        working.forget()
        syncs = len(working.disk.appends)
        working.disk.hold()
        working.device("J/update", status="IN_PROGRESS")
        await working.turns()
        for _ in range(10):
            working.device("J/update", status="IN_PROGRESS")
            await working.turns(3)
        working.disk.let_go()
        await working.until(lambda: working.log.count(f"{UPDATE}/accepted") == 11)
        assert [len(entries) for entries in working.disk.appends[syncs:]] == [1, 10]
        assert working.log.count("flush") == 2


@pytest.mark.asyncio
async def test_a_read_waits_behind_the_writes_it_has_seen() -> None:
    """Architecture, "Durable before visible": what it shows may still be lost."""
    async with at_work() as working:
        await working.running_job()
        working.forget()
        working.disk.hold()
        working.device("J/update", status="IN_PROGRESS", statusDetails={"p": "50"})
        await working.turns()
        read = working.device("J/get")
        await working.turns()
        assert working.log == []
        working.disk.let_go()
        answer = await working.answered(read)
        assert answer["execution"]["statusDetails"] == {"p": "50"}
        order = [topic for topic in working.log if topic.endswith("accepted")]
        assert order == [f"{UPDATE}/accepted", f"{read}/accepted"]


@pytest.mark.asyncio
async def test_a_read_alone_needs_no_disk() -> None:
    """Nothing is appended for it, and it is answered while nothing syncs."""
    async with at_work() as working:
        await working.running_job()
        syncs = len(working.disk.appends)
        working.disk.hold()
        await working.answered(working.device("J/get"))
        refused = await working.answered(working.device("J/update", status="QUEUED"))
        assert refused["code"] == "InvalidStateTransition"
        assert len(working.disk.appends) == syncs


@pytest.mark.asyncio
async def test_a_request_on_no_topic_of_ours_is_refused_with_its_token() -> None:
    """C49."""
    async with at_work() as working:
        refused = await working.answered(working.device("J/frob", clientToken="c"))
        assert (refused["code"], refused["clientToken"]) == ("InvalidTopic", "c")


@pytest.mark.asyncio
async def test_closing_commits_and_says_what_is_in_hand() -> None:
    """SIGTERM: whoever has asked is answered; whoever asks later is not heard."""
    async with at_work() as working:
        await working.running_job()
        working.disk.hold()
        working.device("J/update", status="IN_PROGRESS")
        await working.turns()
        working.device("J/update", status="SUCCEEDED")
        closing = asyncio.ensure_future(working.runner.close())
        await working.turns()
        working.disk.let_go()
        await closing
        assert working.log.count(f"{UPDATE}/accepted") == 2
        working.forget()
        working.device("J/get")
        await working.turns()
        assert working.log == []


# The disk fails.


@pytest.mark.asyncio
async def test_a_failure_that_cannot_be_mended_says_nothing_and_stops_once() -> None:
    """The state is ahead of the disk: nothing of it may be told to anyone."""
    async with at_work() as working:
        await working.running_job()
        working.forget()
        working.disk.hold()
        working.disk.refusal = RuntimeError("broken")
        working.device("J/update", status="SUCCEEDED")
        await working.turns()
        working.device("J/get")
        working.disk.let_go()
        await working.until(lambda: working.failures)
        working.device("J/get")
        await working.turns()
        assert [str(error) for error in working.failures] == ["broken"]
        assert [entry for entry in working.log if entry != "flush"] == []


@pytest.mark.asyncio
async def test_a_disk_that_refuses_costs_its_own_requests_and_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Architecture, "Journal": what is lost is refused with InternalError, reads show what is durable."""
    monkeypatch.setattr(runner_module, "MEND_SECONDS", 0)
    async with at_work() as working:
        await working.running_job()
        working.forget()
        working.disk.refusal = JournalFailed(tmp_path, OSError(28, "No space left on device"))
        lost = working.device("J/update", status="SUCCEEDED")
        assert (await working.answered(lost))["code"] == "InternalError"
        await working.until(lambda: working.runner.state is not None)
        read = await working.answered(working.device("J/get", includeJobDocument=False))
        assert (read["execution"]["status"], read["execution"]["versionNumber"]) == ("IN_PROGRESS", 2)
        working.forget()
        assert (await working.answered(working.device("J/update", status="FAILED")))[
            "code"
        ] == "InternalError"
        working.disk.refusal = None
        await working.until(lambda: working.runner.is_writable)
        working.forget()
        done = working.device("J/update", status="SUCCEEDED", includeJobExecutionState=True)
        state = (await working.answered(done))["executionState"]
        assert state == {"status": "SUCCEEDED", "versionNumber": 3}
        assert working.failures == []


@pytest.mark.asyncio
async def test_a_disk_that_runs_low_is_left_alone_until_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Architecture, "Journal": changes are refused before the disk is full; nothing is half written."""
    monkeypatch.setattr(runner_module, "MEND_SECONDS", 0)
    async with at_work() as working:
        await working.running_job()
        working.disk.room = False
        assert "code" not in await working.answered(working.device("J/update", status="IN_PROGRESS"))
        await working.until(lambda: not working.runner.is_writable)
        syncs = len(working.disk.appends)
        working.forget()
        assert (await working.answered(working.device("J/update", status="FAILED")))[
            "code"
        ] == "InternalError"
        assert (await working.answered(working.device("J/get")))["execution"]["versionNumber"] == 3
        assert len(working.disk.appends) == syncs
        working.disk.room = True
        await working.until(lambda: working.runner.is_writable)
        working.forget()
        assert "code" not in await working.answered(working.device("J/update", status="SUCCEEDED"))


# Faults of ours.


@pytest.mark.asyncio
async def test_a_fault_while_publishing_stops_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop would only log it, and whoever waits behind it would wait for ever."""
    async with at_work() as working:
        await working.running_job()

        def broken(_: Message) -> None:
            raise LookupError("nobody")

        monkeypatch.setattr(working, "publish", broken)
        working.device("J/get")
        await working.until(lambda: working.failures)
        working.device("J/get")
        await working.turns()
        assert [str(error) for error in working.failures] == ["nobody"]


@pytest.mark.asyncio
async def test_a_fault_in_a_timer_stops_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state can no longer be trusted; the journal can."""
    async with at_work() as working:
        await working.running_job(timeoutConfig={"inProgressTimeoutInMinutes": 1})

        def broken(*_: object) -> None:
            raise LookupError("no such rule")

        monkeypatch.setattr(lifecycle, "time_out_if_overdue", broken)
        working.clock.ms += 61_000
        working.runner.clock_moved()
        await working.until(lambda: working.failures)
        assert [str(error) for error in working.failures] == ["no such rule"]


# Time.


def seconds_to_timer(working: AtWork) -> float:
    """How long the one timer has to go."""
    timer = working.runner._timer
    assert timer is not None
    return timer.when() - asyncio.get_running_loop().time()


@pytest.mark.asyncio
async def test_the_timer_is_armed_for_the_next_deadline_and_moves_with_it() -> None:
    """One timer, due no later than a look at the clock: the loop's time stops while the machine sleeps."""
    async with at_work() as working:
        assert working.runner._timer is None
        await working.running_job(timeoutConfig={"inProgressTimeoutInMinutes": 10})
        assert CLOCK_CHECK_SECONDS - 1 < seconds_to_timer(working) <= CLOCK_CHECK_SECONDS
        working.clock.ms += 597_000
        working.runner.clock_moved()
        await working.turns()
        assert 2 < seconds_to_timer(working) <= 3
        await working.answered(working.device("J/update", status="SUCCEEDED"))
        await working.turns()
        # A deadline that no longer counts is looked at once and forgotten.
        working.clock.ms += 4_000
        working.runner.clock_moved()
        await working.turns()
        assert working.runner._timer is None


@pytest.mark.asyncio
async def test_an_execution_times_out_without_anybody_asking() -> None:
    """6.3: by the timer alone; not before its deadline, even where the loop wakes up early."""
    async with at_work() as working:
        await working.running_job(timeoutConfig={"inProgressTimeoutInMinutes": 1})
        working.forget()
        working.clock.ms += 59_999
        working.runner.clock_moved()
        await working.turns()
        # The loop's millisecond is over, the clock's is not: it is looked at again and again.
        await asyncio.sleep(0.02)
        assert "$aws/events/jobExecution/J/timed_out" not in working.log
        working.clock.ms += 1
        await working.until(lambda: "$aws/events/jobExecution/J/timed_out" in working.log)
        assert working.bodies["$aws/things/T/jobs/notify"] == {"timestamp": START_S + 60, "jobs": {}}


@pytest.mark.asyncio
async def test_what_fell_due_while_it_was_down_fires_at_the_start() -> None:
    """C71, 6.3: behind the record of the start, and only once it is durable."""
    async with at_work() as working:
        await working.running_job(timeoutConfig={"inProgressTimeoutInMinutes": 1})
        await working.runner.close()
        working.clock.ms += 3_600_000
        working.start_again()
        await working.until(lambda: "$aws/events/jobExecution/J/timed_out" in working.log)
        (started,), (timed_out, *_) = map(unpack, working.disk.appends[-1])
        assert isinstance(started, ServiceStarted)
        assert isinstance(timed_out, ExecutionChanged)
        assert timed_out.status is JobExecutionStatus.TIMED_OUT


@pytest.mark.asyncio
async def test_while_timers_run_the_time_is_on_record() -> None:
    """Architecture, "Time": a boot with a lost clock carries on from the last record, so none may be old."""
    async with at_work() as working:
        working.clock.ms += 3_600_000
        working.runner._look_around()
        await working.running_job(timeoutConfig={"inProgressTimeoutInMinutes": 1})
        appends = len(working.disk.appends)
        working.clock.ms += TIME_KEPT_MS - 1
        working.runner._look_around()
        await working.turns()
        assert len(working.disk.appends) == appends, "without a timer, or so soon, nothing is written"
        working.clock.ms += 1
        working.clock.is_lost = True
        working.runner._look_around()
        await working.until(lambda: len(working.disk.appends) > appends)
        assert list(map(unpack, working.disk.appends[-1])) == [
            [ServiceStarted(working.clock.ms, "boot", working.clock.uptime_ms(), is_clock_lost=True)]
        ]


@pytest.mark.asyncio
async def test_a_correction_of_the_clock_moves_running_deadlines_with_it() -> None:
    """Architecture, "Time": a step neither times out early nor leaves less time."""
    async with at_work() as working:
        await working.running_job(timeoutConfig={"inProgressTimeoutInMinutes": 1})
        working.clock.correction_ms = year_ms = 365 * 86_400_000
        working.runner._look_around()
        await working.until(lambda: isinstance(unpack(working.disk.appends[-1][-1])[0], ClockStepped))
        assert working.clock.now_ms() == (START_S * 1000) + year_ms
        answer = await working.answered(working.device("J/get"))
        assert answer["execution"]["approximateSecondsBeforeTimedOut"] == 60
        assert working.clock.correction_ms == 0


@pytest.mark.asyncio
async def test_a_long_cancellation_lets_requests_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Architecture, "Bounded work per step": slice by slice, and who asks meanwhile is answered meanwhile."""
    monkeypatch.setattr(lifecycle, "SWEEP_SLICE", 10)
    monkeypatch.setattr(service, "JOBS_RECORDS_SLICE", 10)
    things = [f"T{number}" for number in range(100)]
    async with at_work() as working:
        for thing_name in things:
            working.control("CreateThing", thingName=thing_name)
        working.control("CreateJob", jobId="J", targets=things, document="{}")
        canceling = working.control("CancelJob", jobId="J")
        await working.answered(canceling)
        asked = working.device("get", "T99")
        await working.until(lambda: "$aws/events/job/J/canceled" in working.log)
        log = working.log
        assert log.count("$aws/events/jobExecution/J/canceled") == 100
        last = len(log) - 1 - log[::-1].index("$aws/events/jobExecution/J/canceled")
        assert log.index(f"{canceling}/accepted") < log.index(f"{asked}/accepted") < last
        assert working.runner._timer is None
