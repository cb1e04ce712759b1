"""A device as somebody would write it in an afternoon: asks, works, reports, asks again if need be."""

import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.simulation.client import Client
from tests.simulation.schedule import Event, Schedule
from thingjobs_protocol.status import TERMINAL
from thingjobs_protocol.topics import jobs_base

ANSWER_SECONDS_MAX = 10.0
WORK_SECONDS = (0.2, 40.0)
ASK_ANYWAY_SECONDS = 300.0
TEMPORARY = ("InternalError", "RequestThrottled")


@dataclass
class Work:
    """The execution in hand. `progress_left` counts the reports before the last."""

    job_id: str
    number: int
    version: int
    progress_left: int
    result: str


@dataclass
class Request:
    """Something asked, until it is answered."""

    what: str
    body: dict[str, Any]
    timer: Event | None = None
    work: Work | None = field(default=None)


class WellBehaved:
    """One device. `switch_on` to begin; `crash` loses what it had in memory."""

    def __init__(self, schedule: Schedule, client: Client) -> None:
        self.thing_name = client.user
        self.client = client
        self._schedule = schedule
        self._base = jobs_base(self.thing_name) + "/"
        self._work: Work | None = None
        self._asked: dict[str, Request] = {}
        self._tokens = 0
        self._life = 0
        client.heard = self._heard
        client.connected = self._connected

    def switch_on(self) -> None:
        if self.client.is_on:
            return
        self.client.switch_on()
        self._ask_again_later(self._life)

    def crash(self) -> None:
        """Forget everything and come back."""
        self._life += 1
        self._work = None
        for request in self._asked.values():
            if request.timer is not None:
                request.timer.drop()
        self._asked.clear()
        self.client.switch_off()
        self._schedule.after(self._schedule.seconds(0.5, 30.0), self.switch_on)

    # Asking

    def _connected(self) -> None:
        self._next()

    def _ask_again_later(self, life: int) -> None:
        """Nothing reminds a device of what it has missed but itself."""

        def ask() -> None:
            if life == self._life:
                self._next()
                self._ask_again_later(life)

        self._schedule.after(ASK_ANYWAY_SECONDS, ask)

    def _next(self) -> None:
        if self._work is None and not any(one.what == "start-next" for one in self._asked.values()):
            body: dict[str, Any] = {}
            if self._schedule.chance(0.3):
                body["stepTimeoutInMinutes"] = self._schedule.random.randint(1, 3)
            self._ask("start-next", body)

    def _ask(self, what: str, body: dict[str, Any]) -> None:
        self._tokens += 1
        token = f"{self.thing_name}-{self._life}-{self._tokens}"
        request = self._asked[token] = Request(what, {**body, "clientToken": token}, work=self._work)
        self._send(token, request)

    def _send(self, token: str, request: Request) -> None:
        if self._asked.get(token) is not request:
            return
        self.client.publish(self._base + request.what, json.dumps(request.body).encode())
        # The same again: the token says that it is one request.
        request.timer = self._schedule.after(ANSWER_SECONDS_MAX, partial(self._send, token, request))

    # Listening

    def _heard(self, topic: str, payload: bytes) -> None:
        body = json.loads(payload)
        what = topic.removeprefix(self._base)
        if what == "notify-next":
            if body.get("execution"):
                self._next()
            return
        request = self._asked.get(body.get("clientToken", ""))
        if request is None or not what.startswith(request.what):
            return
        ending = what.rpartition("/")[2]
        if ending == "rejected" and body["code"] in TEMPORARY:
            return
        del self._asked[body["clientToken"]]
        if request.timer is not None:
            request.timer.drop()
        if request.what == "start-next":
            self._handed(body)
        elif ending == "accepted":
            self._accepted(request, body)
        else:
            self._refused(request, body)

    def _handed(self, body: dict[str, Any]) -> None:
        execution = body.get("execution")
        if execution is None or self._work is not None:
            return
        random = self._schedule.random
        result = random.choice(["SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "FAILED", "REJECTED"])
        self._work = Work(
            execution["jobId"],
            execution["executionNumber"],
            execution["versionNumber"],
            random.choice([0, 1, 2, 4]),
            result,
        )
        self._go_on(self._work)

    def _go_on(self, work: Work) -> None:
        life = self._life

        def report() -> None:
            if life == self._life and self._work is work:
                self._report(work)

        self._schedule.after(self._schedule.seconds(*WORK_SECONDS), report)

    def _report(self, work: Work) -> None:
        chance = self._schedule.chance
        body: dict[str, Any] = {"status": "IN_PROGRESS" if work.progress_left else work.result}
        body["includeJobExecutionState"] = True
        body["executionNumber"] = work.number
        if chance(0.7):
            body["expectedVersion"] = work.version
        if chance(0.5):
            body["statusDetails"] = {"left": str(work.progress_left), "who": self.thing_name}
        if work.progress_left and chance(0.3):
            body["stepTimeoutInMinutes"] = self._schedule.random.choice([-1, 1, 2, 5])
        self._ask(f"{work.job_id}/update", body)

    def _accepted(self, request: Request, body: dict[str, Any]) -> None:
        work = request.work
        if work is None or work is not self._work:
            return
        work.version = body["executionState"]["versionNumber"]
        if body["executionState"]["status"] in TERMINAL:
            self._done()
        else:
            work.progress_left -= 1
            self._go_on(work)

    def _refused(self, request: Request, body: dict[str, Any]) -> None:
        work = request.work
        if work is None or work is not self._work:
            return
        if body["code"] == "VersionMismatch" and body["executionState"]["status"] not in TERMINAL:
            # An earlier copy got through, or somebody else changed it.
            work.version = body["executionState"]["versionNumber"]
            self._go_on(work)
        else:
            self._done()

    def _done(self) -> None:
        self._work = None
        self._next()
