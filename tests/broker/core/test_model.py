"""The core against the model, step by step: replies, notifications, events, statuses, versions, order.

A small budget by default; MODEL_EXAMPLES=2000 in the environment makes it so many runs, of up to 80 steps.
"""

import os
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.broker.core.model import Model, Refused
from tests.broker.core.world import START_S, Sent, World, picture

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "120"))

THINGS = st.sampled_from(["A", "B"])
JOBS = [f"J{number}" for number in range(1, 8)]
DETAILS = st.sampled_from([None, None, {"a": "1"}, {"b": "2"}, {}])
STEPS = st.sampled_from([None, None, 1, 2, 5])
MINUTES = st.sampled_from([None, 1, 3])
RETRIES = st.sampled_from([{}, {"FAILED": 1}, {"TIMED_OUT": 2}, {"FAILED": 1, "TIMED_OUT": 1}, {"ALL": 2}])
ENDS = st.sampled_from(["SUCCEEDED", "FAILED", "FAILED", "REJECTED"])
ANY_STATUS = st.sampled_from(["IN_PROGRESS", "SUCCEEDED", "CANCELED", "TIMED_OUT", "QUEUED", "REMOVED"])
CHOICES = st.integers(0, 3)
NUMBERS = st.sampled_from([None, None, 1, 2, 3])


class JobsServiceAgainstModel(RuleBasedStateMachine):
    """Each rule asks both and compares everything that was said."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World("A", "B")
        self.model = Model(START_S)

    def a_pending_job(self, thing: str, choice: int) -> str:
        """One of the jobs the thing has to do; some other where there is none."""
        pending = self.model.pending(thing)
        return pending[choice % len(pending)].job if pending else JOBS[choice]

    # Rules of devices

    @rule(thing=THINGS, details=DETAILS, step=STEPS)
    def start_next(self, thing: str, details: dict[str, str] | None, step: int | None) -> None:
        body = {"statusDetails": details, "stepTimeoutInMinutes": step}
        self.device(thing, "start-next", body, lambda: self.model.start_next(thing, details, step))

    @rule(thing=THINGS, choice=CHOICES, details=DETAILS, step=st.one_of(STEPS, st.just(-1)))
    def report_progress(
        self, thing: str, choice: int, details: dict[str, str] | None, step: int | None
    ) -> None:
        self.update(thing, self.a_pending_job(thing, choice), "IN_PROGRESS", details=details, step=step)

    @rule(thing=THINGS, choice=CHOICES, status=ENDS, details=DETAILS)
    def report_the_end(self, thing: str, choice: int, status: str, details: dict[str, str] | None) -> None:
        self.update(thing, self.a_pending_job(thing, choice), status, details=details)

    @rule(
        thing=THINGS,
        job=st.sampled_from(JOBS[:4]),
        status=st.one_of(ANY_STATUS, ENDS),
        version=st.sampled_from([None, None, 0, 1]),
        number=NUMBERS,
    )
    def report_anything(
        self, thing: str, job: str, status: str, version: int | None, number: int | None
    ) -> None:
        current = self.model.find(thing, job, number)
        expected = None if version is None or current is None else current.version + version
        self.update(thing, job, status, version=expected, number=number)

    @rule(thing=THINGS, job=st.sampled_from(["$next", *JOBS[:4]]), number=NUMBERS)
    def describe(self, thing: str, job: str, number: int | None) -> None:
        body = {"executionNumber": number, "includeJobDocument": False}
        self.device(thing, f"{job}/get", body, lambda: self.model.describe(thing, job, number))

    # Rules of operators

    @initialize(minutes=MINUTES, retries=RETRIES)
    def create_the_first_job(self, minutes: int | None, retries: dict[str, int]) -> None:
        self.create_job({"A", "B"}, minutes, retries)

    @rule(things=st.sets(THINGS, min_size=1), minutes=MINUTES, retries=RETRIES)
    def create_job(self, things: set[str], minutes: int | None, retries: dict[str, int]) -> None:
        # The last id is tried again and again once all are taken.
        job = JOBS[min(len(self.model.jobs), len(JOBS) - 1)]
        targets = sorted(things)
        request: dict[str, Any] = {
            "jobId": job,
            "targets": targets,
            "document": '{"operation": "install"}',
        }
        if minutes is not None:
            request["timeoutConfig"] = {"inProgressTimeoutInMinutes": minutes}
        if retries:
            criteria = [{"failureType": name, "numberOfRetries": count} for name, count in retries.items()]
            request["jobExecutionsRetryConfig"] = {"criteriaList": criteria}
        self.control("CreateJob", request, lambda: self.model.create(job, targets, minutes, retries))

    @rule(
        operation=st.sampled_from(["CancelJob", "CancelJobExecution", "DeleteJobExecution"]),
        thing=THINGS,
        job=st.sampled_from(JOBS),
        number=st.sampled_from([1, 1, 2, 3]),
        force=st.booleans(),
    )
    def interfere(self, operation: str, thing: str, job: str, number: int, force: bool) -> None:
        model, request = self.model, {"jobId": job, "force": force}
        match operation:
            case "CancelJob":
                self.control(operation, request, lambda: model.cancel_job(job, force=force))
            case "CancelJobExecution":
                request |= {"thingName": thing}
                self.control(operation, request, lambda: model.cancel_execution(thing, job, force=force))
            case _:
                request |= {"thingName": thing, "executionNumber": number}
                self.control(
                    operation, request, lambda: model.delete_execution(thing, job, number, force=force)
                )

    # Rules of time

    @rule(seconds=st.sampled_from([1, 10, 59, 60, 61, 120, 400]))
    def wait(self, seconds: int) -> None:
        # Executions of one thing that time out in the same second are retried in any order.
        hypothesis.assume(not self.model.order_of_retries_is_open())
        self.model.wait(seconds)
        self.compare(self.world.advance(seconds * 1000))

    @rule()
    def restart(self) -> None:
        assert self.world.restart() == []

    # Comparing

    def update(
        self,
        thing: str,
        job: str,
        status: str,
        *,
        details: dict[str, str] | None = None,
        step: int | None = None,
        version: int | None = None,
        number: int | None = None,
    ) -> None:
        """An update of whatever kind."""
        body = {
            "status": status,
            "statusDetails": details,
            "stepTimeoutInMinutes": step,
            "expectedVersion": version,
            "executionNumber": number,
            "includeJobExecutionState": True,
        }
        self.device(
            thing,
            f"{job}/update",
            body,
            lambda: self.model.update(
                thing, job, status, details=details, step=step, version=version, number=number
            ),
        )

    def device(
        self, thing: str, what: str, body: dict[str, Any], ask_model: Callable[[], dict[str, Any]]
    ) -> None:
        """A device's request; the token is echoed either way."""
        reply, *others = self.world.device(thing, what, body | {"clientToken": "c"})
        shown = {"timestamp": self.model.now, "clientToken": "c"}
        try:
            shown |= ask_model()
            ending = "accepted"
        except Refused as refusal:
            shown |= {"code": refusal.code}
            if refusal.state is not None:
                shown["executionState"] = refusal.state
            ending = "rejected"
        said = {name: value for name, value in reply.body.items() if name != "message"}
        assert (reply.ending, said) == (ending, shown)
        self.compare(others)

    def control(self, operation: str, request: dict[str, Any], ask_model: Callable[[], None]) -> None:
        """An operator's request."""
        reply, *others = self.world.call(operation, request)
        code = None
        try:
            ask_model()
        except Refused as refusal:
            code = refusal.code
        assert reply.body.get("code") == code
        self.compare(others)

    def compare(self, sent: list[Sent]) -> None:
        """Notifications in full, events by name; of both neither more nor fewer."""
        notified = [
            (message.topic.removeprefix("$aws/things/"), message.body)
            for message in sent
            if message.topic.startswith("$aws/things/")
        ]
        expected = sorted(self.model.notified, key=by_time_and_topic)
        assert sorted(notified, key=by_time_and_topic) == expected
        events = [(message.body["jobId"], message.ending) for message in sent if message.is_event]
        assert sorted(events) == sorted(self.model.events)
        self.model.notified.clear()
        self.model.events.clear()

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        state = self.world.state
        for name in ("A", "B"):
            pending = list(state.things[name].pending.values())
            running = [one for one in pending if one.status.value == "IN_PROGRESS"]
            ordered = running + [one for one in pending if one.status.value != "IN_PROGRESS"]
            assert [(one.job_id, one.execution_number) for one in ordered] == [
                one.identity for one in self.model.pending(name)
            ]
        stored = {
            (one.thing_name, one.job_id, one.execution_number): (one.status.value, one.version_number)
            for job in state.jobs.values()
            for one in job.executions
            if one is not None
        }
        assert stored == {
            (one.thing, one.job, one.number): (one.status, one.version) for one in self.model.executions
        }
        assert {job_id: job.status.value for job_id, job in state.jobs.items()} == {
            job_id: job.status for job_id, job in self.model.jobs.items()
        }

    def teardown(self) -> None:
        assert picture(self.world.recovered()) == picture(self.world.state)


def by_time_and_topic(message: tuple[str, dict[str, Any]]) -> tuple[int, str]:
    return message[1]["timestamp"], message[0]


TestJobsServiceAgainstModel = JobsServiceAgainstModel.TestCase
TestJobsServiceAgainstModel.settings = hypothesis.settings(
    max_examples=EXAMPLES, stateful_step_count=80 if EXAMPLES > 120 else 40
)
