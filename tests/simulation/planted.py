"""Planted bugs: small changes of the true code, each of which breaks a promise that a checker watches."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from thingjobs_agent.machine import taking_up
from thingjobs_agent.machine.state import Limits
from thingjobs_broker import clock, commits, outbox
from thingjobs_broker.core import device, execution, retry, rolling_out, state, targets, views
from thingjobs_broker.core.records import ExecutionChanged
from thingjobs_broker.core.step import Step
from thingjobs_broker.runner import Runner
from thingjobs_broker.store import capture, journal, record_codec, segment, store
from thingjobs_broker.store.capture import Capture
from thingjobs_broker.store.errors import JournalFailed
from thingjobs_protocol.status import TERMINAL, JobExecutionStatus

Plant = Callable[[pytest.MonkeyPatch], None]
BUGS: list[tuple[Plant, tuple[str, ...]]] = []
"""Each with the checkers of which one must be the first to notice."""


def planted(*checkers: str) -> Callable[[Plant], Plant]:
    def note(plant: Plant) -> Plant:
        BUGS.append((plant, checkers))
        return plant

    return note


# Durability


@planted("SyncedBeforeSaid")
def sync_is_skipped(patch: pytest.MonkeyPatch) -> None:
    def append(writer: Any, payloads: Any) -> None:
        file = writer._file
        writer._file = _Unsynced(file)
        try:
            real(writer, payloads)
        finally:
            writer._file = file

    real = segment.SegmentWriter.append
    patch.setattr(segment.SegmentWriter, "append", append)


class _Unsynced:
    def __init__(self, file: Any) -> None:
        self.write = file.write
        self.truncate = file.truncate

    def sync_data(self) -> None:
        """Says that it has, as some disks do."""


@planted("SyncedBeforeSaid")
def messages_leave_before_the_sync(patch: pytest.MonkeyPatch) -> None:
    def pump(waiting: commits.Commits) -> None:
        if waiting._syncing is None and not waiting._closed:
            waiting.publish(waiting._queue)
            waiting._queue = [
                one._replace(outcome=_silent(one.outcome), settled=None) for one in waiting._queue
            ]
        real(waiting)

    real = commits.Commits._pump
    patch.setattr(commits.Commits, "_pump", pump)


def _silent(outcome: Any) -> Any:
    return type(outcome)(outcome.records, [])


@planted("SyncedBeforeSaid")
def reads_pass_the_writes_they_have_seen(patch: pytest.MonkeyPatch) -> None:
    def add(waiting: commits.Commits, outcome: Any, settled: Any = None, refusal: Any = None) -> None:
        if outcome.records or waiting._closed:
            real(waiting, outcome, settled, refusal)
        else:
            one = commits.Waiting(outcome, settled, waiting.position, refusal)
            # As soon as the step is over.
            waiting._loop.call_soon(waiting.publish, [one])

    real = commits.Commits.add
    patch.setattr(commits.Commits, "add", add)


@planted("RecoveredEqualsLived", "NothingToldIsLost")
def a_record_is_not_journaled(patch: pytest.MonkeyPatch) -> None:
    def pack(records: Any) -> bytes:
        return real([one for one in records if not _is_progress(one)])

    def _is_progress(record: Any) -> bool:
        return isinstance(record, ExecutionChanged) and record.status == "IN_PROGRESS"

    real = record_codec.pack
    patch.setattr("thingjobs_broker.commits.pack", pack)


@planted("RecoveredEqualsLived", "NoCrash")
def a_snapshot_misses_what_changes_meanwhile(patch: pytest.MonkeyPatch) -> None:
    def take(taken: Capture, record: Any) -> None:
        count = len(taken._ahead)
        taken.take_execution(record)
        del taken._ahead[count:]

    touched: Any = capture._TOUCHED
    patch.setitem(touched, ExecutionChanged, take)


@planted("NoCrash", "RecoveredEqualsLived")
def a_torn_tail_is_not_cut(patch: pytest.MonkeyPatch) -> None:
    def reopen(files: Any, path: Any, data: bytes, scan: Any) -> Any:
        return real(files, path, data, scan._replace(end=len(data)))

    real = segment.SegmentWriter.reopen
    patch.setattr(segment.SegmentWriter, "reopen", reopen)


@planted("NoCrash", "RecoveredEqualsLived", "NothingToldIsLost")
def a_segment_goes_too_early(patch: pytest.MonkeyPatch) -> None:
    """Before the snapshot that makes it useless is durable."""

    def begin_snapshot(self: store.Store, position: int) -> Any:
        self._journal.remove_before(position + 1)
        return real(self, position)

    real = store.Store.begin_snapshot
    patch.setattr(store.Store, "begin_snapshot", begin_snapshot)


@planted("RecoveredEqualsLived", "NothingToldIsLost", "SyncedBeforeSaid", "NoCrash")
def a_failed_append_is_taken_for_a_good_one(patch: pytest.MonkeyPatch) -> None:
    def append(self: journal.Journal, payloads: Any) -> int:
        try:
            return real(self, payloads)
        except JournalFailed:
            self._failure = None
            self._last_position += len(payloads)
            return self._last_position

    real = journal.Journal.append
    patch.setattr(journal.Journal, "append", append)


# Executions


@planted("TimersAreExact", "TerminalStaysTerminal")
def a_timer_is_kept_after_the_end(patch: pytest.MonkeyPatch) -> None:
    def changed(current: Any, status: Any, now_ms: int, **members: Any) -> Any:
        record = real(current, status, now_ms, **members)
        if status in TERMINAL:
            step_ms = current.step_deadline_ms
            return msgspec.structs.replace(record, step_deadline_ms=step_ms)
        return record

    real = execution.changed
    patch.setattr(execution, "changed", changed)


@planted("VersionByOne")
def a_version_is_not_bumped(patch: pytest.MonkeyPatch) -> None:
    def changed(current: Any, status: Any, now_ms: int, **members: Any) -> Any:
        record = real(current, status, now_ms, **members)
        if status is current.status:
            return msgspec.structs.replace(record, version_number=current.version_number)
        return record

    real = execution.changed
    patch.setattr(execution, "changed", changed)


@planted("TerminalStaysTerminal")
def a_device_revives_what_it_has_ended(patch: pytest.MonkeyPatch) -> None:
    rows = execution.TRANSITIONS
    for ended in (JobExecutionStatus.FAILED, JobExecutionStatus.SUCCEEDED, JobExecutionStatus.TIMED_OUT):
        patch.setitem(rows, ended, {**rows[JobExecutionStatus.IN_PROGRESS]})


@planted("UpdatesAreAsAsked")
def the_expected_version_is_ignored(patch: pytest.MonkeyPatch) -> None:
    def update(step: Any, thing: Any, topic: Any, request: Any) -> Any:
        request.expected_version = None
        return real(step, thing, topic, request)

    api = next(api for api, handler in device.HANDLERS.items() if handler is device.update)
    real = device.update
    patch.setitem(device.HANDLERS, api, update)


@planted("DevicesAreApart")
def details_of_one_device_are_shown_to_another(patch: pytest.MonkeyPatch) -> None:
    last: list[Any] = []

    def execution_state(current: Any) -> Any:
        shown = real(current)
        if shown.status_details:
            last[:] = [shown.status_details]
        return msgspec.structs.replace(shown, status_details=last[0]) if last else shown

    real = views.execution_state
    patch.setattr(views, "execution_state", execution_state)


@planted("CountsAreRecounts")
def a_counter_drifts(patch: pytest.MonkeyPatch) -> None:
    def move(self: Any, thing: Any, current: Any, before: Any, *after_and_record: Any) -> None:
        real(self, thing, current, before, *after_and_record)
        if before is JobExecutionStatus.IN_PROGRESS:
            self.jobs[current.job_id].counts[before.value] += 1

    real = state.State._move
    patch.setattr(state.State, "_move", move)


# Messages


@planted("OneReplyEach")
def a_request_is_answered_twice(patch: pytest.MonkeyPatch) -> None:
    def reply(self: Step, topic: str, body: Any) -> None:
        real(self, topic, body)
        if topic.endswith("start-next/accepted") and self.size:
            real(self, topic, body)

    real = Step.reply
    patch.setattr(Step, "reply", reply)


@planted("NotifyIff")
def a_notification_is_given_twice(patch: pytest.MonkeyPatch) -> None:
    def finish(self: Step) -> Any:
        outcome = real(self)
        outcome.messages += [one for one in outcome.messages if one.topic.endswith("/notify")][:1]
        return outcome

    real = Step.finish
    patch.setattr(Step, "finish", finish)


@planted("NotifyIff")
def a_notification_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def finish(self: Step) -> Any:
        outcome = real(self)
        if len(self._watched) > 2:
            outcome.messages = [one for one in outcome.messages if not one.topic.endswith("/notify-next")]
        return outcome

    real = Step.finish
    patch.setattr(Step, "finish", finish)


@planted("NotifyIff")
def progress_is_announced(patch: pytest.MonkeyPatch) -> None:
    """The guide's bullet that a change to IN_PROGRESS triggers N, which its own example contradicts (A6)."""

    def notify(self: Step, before: Any) -> None:
        real(self, before._replace(revision=-1, visible=None))

    real = Step._notify
    patch.setattr(Step, "_notify", notify)


@planted("EverythingIsSaid")
def a_notification_is_lost_on_its_way(patch: pytest.MonkeyPatch) -> None:
    def publish(self: commits.Commits, batch: Any) -> None:
        for one in batch:
            if len(one.outcome.messages) > 2:
                kept = [each for each in one.outcome.messages if not each.topic.endswith("/notify")]
                one.outcome.messages[:] = kept
        real(self, batch)

    real = commits.Commits.publish
    patch.setattr(commits.Commits, "publish", publish)


@planted("AnsweredBeforeForgotten")
def an_acknowledgment_does_not_wait_for_its_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outbox.Outbox, "_acknowledge", lambda box, packet_id: box._link.acknowledge(packet_id))


@planted("AnsweredBeforeForgotten")
def a_held_acknowledgment_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def release(self: outbox.Outbox) -> None:
        self._held = type(self._held)(list(self._held)[1:])
        real(self)

    real = outbox.Outbox._release
    patch.setattr(outbox.Outbox, "_release", release)


# Time


@planted("TimersAreExact")
def timers_are_lost_in_the_recovery(patch: pytest.MonkeyPatch) -> None:
    def derive(self: state.State) -> None:
        real(self)
        self.timers = type(self.timers)()

    real = state.State.derive
    patch.setattr(state.State, "derive", derive)


@planted("TimersAreExact")
def a_step_of_the_clock_fires_early(patch: pytest.MonkeyPatch) -> None:
    def follow(self: Runner) -> None:
        if self.is_writable and (delta_ms := self._clock.behind_ms()):
            self._clock.follow(delta_ms)

    patch.setattr(Runner, "_follow_clock", follow)


@planted("TimersAreExact")
def a_lost_clock_is_trusted(patch: pytest.MonkeyPatch) -> None:
    def make(self: Any, not_before_ms: int = 0, last_start: Any = None) -> None:
        real(self, not_before_ms, last_start)
        self.is_lost = False

    real = clock.SystemClock.__init__
    patch.setattr(clock.SystemClock, "__init__", make)


@planted("TimersAreExact")
def a_step_timer_begins_when_the_job_did(patch: pytest.MonkeyPatch) -> None:
    def changed(current: Any, status: Any, now_ms: int, **members: Any) -> Any:
        record = real(current, status, now_ms, **members)
        minutes = members.get("step_timeout_in_minutes") or 0
        if minutes > 0 and current.started_at_ms and status is current.status:
            due_ms = current.started_at_ms + minutes * execution.MINUTE_MS
            return msgspec.structs.replace(record, step_deadline_ms=due_ms)
        return record

    real = execution.changed
    patch.setattr(execution, "changed", changed)


# Jobs


@planted("EachThingOnce", "TerminalStaysTerminal")
def a_rollout_gives_a_thing_two(patch: pytest.MonkeyPatch) -> None:
    """Each slice begins where the one before ended, not after it."""

    def next_things(step: Any, job: Any, rollout: Any, count_max: int, looks_max: int) -> Any:
        found = real(step, job, rollout, count_max, looks_max)
        return found if found.is_end else found._replace(target_index=max(0, found.target_index - 1))

    real = targets.next_things
    patch.setattr(targets, "next_things", next_things)
    patch.setattr(targets, "_wanting", lambda step, _job, _index, name: step.state.things.get(name))


@planted("EachThingOnce")
def a_rollout_knows_no_windows(patch: pytest.MonkeyPatch) -> None:
    def advance(step: Any, job: Any) -> Any:
        due_ms = real(step, job)
        return 0 if due_ms else due_ms

    def window_start_ms(_started_at_ms: int, now_ms: int) -> int:
        return now_ms

    real = rolling_out.advance
    patch.setattr(rolling_out, "advance", advance)
    patch.setattr("thingjobs_broker.core.rollout.window_start_ms", window_start_ms)


@planted("RetriesAreCounted")
def a_retry_too_many(patch: pytest.MonkeyPatch) -> None:
    failures = retry._failures
    patch.setattr(retry, "_failures", lambda *given: failures(*given) - 1)


@planted("RetriesAreCounted")
def a_retry_is_counted_twice(patch: pytest.MonkeyPatch) -> None:
    def twice(*given: Any) -> int:
        count = failures(*given)
        return count + (count > 1)

    failures = retry._failures
    patch.setattr(retry, "_failures", twice)


# The agent


@planted("NoJobTwice")
def the_agent_forgets_its_checkpoint(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(taking_up, "resume", lambda _machine, _checkpoint, _now_ms: None)


@planted("EverythingEnds")
def an_idle_agent_waits_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("tests.simulation.agent_device.Limits", lambda: Limits(ask_ms=10**9))
