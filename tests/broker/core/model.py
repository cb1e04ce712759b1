"""A second, slow jobs service, written from the protocol's tables alone, in whole seconds.

It shares no code with the core: executions are plain records in the order they were queued, and every answer
is looked up by going through all of them. Message texts and the payloads of events are not its subject.
"""

import dataclasses
from typing import Any

TERMINAL = {"SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED"}
DEVICE_SETS = {"IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"}
DOCUMENT = {"operation": "install"}

Expected = tuple[str, dict[str, Any]]
"""(topic below the thing's jobs, body)."""


@dataclasses.dataclass
class Execution:
    """One attempt. Times in seconds; None is "not yet" or "no timer"."""

    thing: str
    job: str
    number: int
    queued: int
    updated: int
    status: str = "QUEUED"
    version: int = 1
    details: dict[str, str] = dataclasses.field(default_factory=dict)
    started: int | None = None
    total: int | None = None
    step: int | None = None

    @property
    def deadline(self) -> int | None:
        running = [deadline for deadline in (self.total, self.step) if deadline is not None]
        return min(running, default=None)

    @property
    def identity(self) -> tuple[str, int]:
        return self.job, self.number


@dataclasses.dataclass
class Job:
    """`left` counts the retries left, by (thing, failure type)."""

    minutes: int | None
    retries: dict[str, int]
    status: str = "IN_PROGRESS"
    left: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)


class Refused(Exception):
    """A request is refused with that code; on the data plane maybe with the state."""

    def __init__(self, code: str, state: dict[str, Any] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.state = state


class Model:
    """The rules. Every method is one step; `notified` and `events` are what it must have caused."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.executions: list[Execution] = []
        self.jobs: dict[str, Job] = {}
        self.notified: list[Expected] = []
        self.events: list[tuple[str, str]] = []

    # What can be seen

    def pending(self, thing: str) -> list[Execution]:
        """All IN_PROGRESS before all QUEUED, each as queued (4.5)."""
        mine = [one for one in self.executions if one.thing == thing]
        running = [one for one in mine if one.status == "IN_PROGRESS"]
        return running + [one for one in mine if one.status == "QUEUED"]

    def find(self, thing: str, job: str, number: int | None) -> Execution | None:
        """The one with that number, or the newest (4.4)."""
        found = [one for one in self.executions if (one.thing, one.job) == (thing, job)]
        if number is not None:
            found = [one for one in found if one.number == number]
        return max(found, key=lambda one: one.number, default=None)

    def summary(self, one: Execution) -> dict[str, Any]:
        """JobExecutionSummary (2.2)."""
        shown = {
            "jobId": one.job,
            "queuedAt": one.queued,
            "lastUpdatedAt": one.updated,
            "versionNumber": one.version,
            "executionNumber": one.number,
        }
        return shown if one.started is None else shown | {"startedAt": one.started}

    def whole(self, one: Execution, *, document: bool = True) -> dict[str, Any]:
        """JobExecution (2.2, 2.7)."""
        shown = self.summary(one) | {"status": one.status}
        if one.details:
            shown["statusDetails"] = one.details
        if one.deadline is not None:
            shown["approximateSecondsBeforeTimedOut"] = one.deadline - self.now
        return shown | {"jobDocument": DOCUMENT} if document else shown

    def state(self, one: Execution) -> dict[str, Any]:
        """JobExecutionState (2.2)."""
        shown: dict[str, Any] = {"status": one.status, "versionNumber": one.version}
        return shown | {"statusDetails": one.details} if one.details else shown

    def lists(self, thing: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """At most ten together (9)."""
        shown = self.pending(thing)[:10]
        running = [self.summary(one) for one in shown if one.status == "IN_PROGRESS"]
        return running, [self.summary(one) for one in shown if one.status == "QUEUED"]

    def order_of_retries_is_open(self) -> bool:
        """Whether two executions of one thing will be retried in the same second."""
        retried = [
            (one.thing, one.deadline)
            for one in self.executions
            if one.deadline is not None and {"ALL", "TIMED_OUT"} & self.jobs[one.job].retries.keys()
        ]
        return len(retried) != len(set(retried))

    # Steps

    def create(self, job: str, things: list[str], minutes: int | None, retries: dict[str, int]) -> None:
        with Watch(self):
            if job in self.jobs:
                raise Refused("ResourceAlreadyExistsException")
            self.jobs[job] = Job(minutes, retries)
            for thing in things:
                self.executions.append(Execution(thing, job, 1, self.now, self.now))
                for failure_type, count in retries.items():
                    self.jobs[job].left[thing, failure_type] = count

    def start_next(self, thing: str, details: dict[str, str] | None, step: int | None) -> dict[str, Any]:
        """2.4: starts a QUEUED front, hands back a running one."""
        with Watch(self):
            pending = self.pending(thing)
            if not pending:
                return {}
            if pending[0].status == "QUEUED":
                self._change(pending[0], "IN_PROGRESS", details, step)
            return {"execution": self.whole(pending[0])}

    def describe(self, thing: str, job: str, number: int | None) -> dict[str, Any]:
        """2.5."""
        if job == "$next":
            pending = self.pending(thing)
            return {"execution": self.whole(pending[0], document=False)} if pending else {}
        one = self.find(thing, job, number)
        if one is None:
            raise Refused("ResourceNotFound")
        if one.status in TERMINAL:
            raise Refused("TerminalStateReached")
        return {"execution": self.whole(one, document=False)}

    def update(
        self,
        thing: str,
        job: str,
        status: str,
        *,
        details: dict[str, str] | None,
        step: int | None,
        version: int | None,
        number: int | None,
    ) -> dict[str, Any]:
        """2.6, 3.4, 4.2."""
        with Watch(self):
            one = self.find(thing, job, number)
            if one is None:
                raise Refused("ResourceNotFound")
            if version not in (None, one.version):
                raise Refused("VersionMismatch", self.state(one))
            if status not in DEVICE_SETS or one.status in TERMINAL:
                raise Refused("InvalidStateTransition", self.state(one))
            self._change(one, status, details, step)
            return {"executionState": self.state(one)}

    def cancel_job(self, job: str, *, force: bool) -> None:
        """Control plane 1.5: QUEUED always, IN_PROGRESS with force, terminal never."""
        with Watch(self):
            if job not in self.jobs:
                raise Refused("ResourceNotFoundException")
            mine = [one for one in self.executions if one.job == job]
            again = (
                self.jobs[job].status == "CANCELED"
                and force
                and any(one.status not in TERMINAL for one in mine)
            )
            if self.jobs[job].status != "IN_PROGRESS" and not again:
                raise Refused("InvalidRequestException")
            self.jobs[job].status = "CANCELED"
            self.events.append((job, "cancellation_in_progress"))
            for one in mine:
                if one.status == "QUEUED" or (force and one.status == "IN_PROGRESS"):
                    self._change(one, "CANCELED", None, None)
            self.events.append((job, "canceled"))

    def cancel_execution(self, thing: str, job: str, *, force: bool) -> None:
        """Control plane 1.5."""
        with Watch(self):
            one = self.find(thing, job, None)
            if one is None:
                raise Refused("ResourceNotFoundException")
            if one.status in TERMINAL or (one.status == "IN_PROGRESS" and not force):
                raise Refused("InvalidStateTransitionException")
            self._change(one, "CANCELED", None, None)

    def delete_execution(self, thing: str, job: str, number: int, *, force: bool) -> None:
        """Control plane 1.5."""
        with Watch(self):
            one = self.find(thing, job, number)
            if one is None:
                raise Refused("ResourceNotFoundException")
            if one.status == "IN_PROGRESS" and not force:
                raise Refused("InvalidStateTransitionException")
            self.executions.remove(one)
            self.events.append((job, "deleted"))
            self._complete(job)

    def wait(self, seconds: int) -> None:
        """6.3: whatever runs out on the way times out, at its time."""
        until = self.now + seconds
        while due := [
            one.deadline for one in self.executions if one.deadline is not None and one.deadline <= until
        ]:
            self.now = min(due)
            with Watch(self):
                for one in [one for one in self.executions if one.deadline == self.now]:
                    self._change(one, "TIMED_OUT", None, None)
        self.now = until

    # What follows

    def _change(self, one: Execution, status: str, details: dict[str, str] | None, step: int | None) -> None:
        if status == "IN_PROGRESS" and one.status == "QUEUED":
            one.started = self.now
            minutes = self.jobs[one.job].minutes
            one.total = None if minutes is None else self.now + minutes * 60
        if step is not None:
            one.step = None if step == -1 else self.now + step * 60
        if details is not None:
            one.details = details
        one.status = status
        one.version += 1
        one.updated = self.now
        if status in TERMINAL:
            one.total = one.step = None
            self.events.append((one.job, status.lower()))
            self._retry(one)
            self._complete(one.job)

    def _retry(self, one: Execution) -> None:
        job = self.jobs[one.job]
        if one.status not in ("FAILED", "TIMED_OUT") or job.status != "IN_PROGRESS":
            return
        budget = (one.thing, "ALL" if "ALL" in job.retries else one.status)
        if job.left.get(budget, 0) > 0:
            job.left[budget] -= 1
            self.executions.append(Execution(one.thing, one.job, one.number + 1, self.now, self.now))

    def _complete(self, job: str) -> None:
        mine = [one for one in self.executions if one.job == job]
        if self.jobs[job].status == "IN_PROGRESS" and all(one.status in TERMINAL for one in mine):
            self.jobs[job].status = "COMPLETED"
            self.events.append((job, "completed"))


class Watch:
    """Around one step: N iff the pending set changed, NN iff the front did (5.2)."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.things = {one.thing for one in self.model.executions}
        self.before = {thing: self._look(thing) for thing in self.things}

    def _look(self, thing: str) -> tuple[set[tuple[str, int]], tuple[str, int] | None]:
        identities = [one.identity for one in self.model.pending(thing)]
        return set(identities), identities[0] if identities else None

    def __exit__(self, *_: object) -> None:
        model = self.model
        for thing in sorted(self.things | {one.thing for one in model.executions}):
            members, front = self.before.get(thing, (set(), None))
            now_members, now_front = self._look(thing)
            body: dict[str, Any]
            if now_members != members:
                lists = zip(("IN_PROGRESS", "QUEUED"), model.lists(thing), strict=True)
                body = {"timestamp": model.now, "jobs": {status: found for status, found in lists if found}}
                model.notified.append((f"{thing}/jobs/notify", body))
            if now_front != front:
                body = {"timestamp": model.now}
                if now_front is not None:
                    body["execution"] = model.whole(model.pending(thing)[0])
                model.notified.append((f"{thing}/jobs/notify-next", body))
