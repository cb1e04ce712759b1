"""A device that is broken or malicious: whatever its login lets it send, and some that it does not."""

import json
from collections.abc import Callable
from typing import Any

from tests.simulation.client import Client
from tests.simulation.schedule import Schedule
from thingjobs_protocol.topics import jobs_base

PAUSE_SECONDS = (0.5, 25.0)
FLOOD = 40
GARBAGE = (
    *(b"", b"null", b"[]", b"{", b'{"status":', b"\xff\xfe\x00", b"NaN", b'{"status":1}', b'"text"'),
    *(b'{"status":"DONE"}', b'{"status":"QUEUED"}', b'{"status":"TIMED_OUT"}', b'{"status":"REMOVED"}'),
    *(b'{"status":"IN_PROGRESS","stepTimeoutInMinutes":0}', b'{"status":"FAILED","expectedVersion":-1}'),
    *(b'{"status":"IN_PROGRESS","statusDetails":{"a":1}}', b'{"clientToken":{}}', b"[" * 500),
    *(b'{"status":"SUCCEEDED","executionNumber":99}', b'{"status":"CANCELED","clientToken":"T1-0-1"}'),
)
STATUSES = ("IN_PROGRESS", "IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED", "CANCELED")


class Hostile:
    """One device. `job_ids` tells which jobs there are, `others` the names of all devices."""

    def __init__(
        self, schedule: Schedule, client: Client, job_ids: Callable[[], list[str]], others: list[str]
    ) -> None:
        self.thing_name = client.user
        self.client = client
        self.is_quiet = False
        self._schedule = schedule
        self._job_ids = job_ids
        self._others = others
        self._tokens = 0

    def switch_on(self) -> None:
        self.client.switch_on()
        self._act_later()

    def crash(self) -> None:
        """Come back at once, which is no crash but a nuisance."""
        self.client.switch_off()
        self._schedule.after(0.2, self.client.switch_on)

    def _act_later(self) -> None:
        self._schedule.after(self._schedule.seconds(*PAUSE_SECONDS), self._act)

    def _act(self) -> None:
        if self.is_quiet:
            return
        random = self._schedule.random
        act = random.choice([self._report, self._report, self._ask, self._ask, self._litter, self._flood])
        act()
        self._act_later()

    def _ask(self) -> None:
        self._send(self._schedule.random.choice(["get", "start-next", "$next/get", "J1/get"]), {})

    def _report(self) -> None:
        """Report anything about any job, also what is over, with a version that may be stale."""
        random = self._schedule.random
        body: dict[str, Any] = {"status": random.choice(STATUSES), "includeJobExecutionState": True}
        if random.random() < 0.5:
            body["expectedVersion"] = random.randint(1, 4)
        if random.random() < 0.3:
            body["executionNumber"] = random.randint(1, 3)
        if random.random() < 0.3:
            body["stepTimeoutInMinutes"] = random.choice([-1, 1, 2])
        self._send(f"{random.choice(self._job_ids() or ['J1'])}/update", body)

    def _litter(self) -> None:
        random = self._schedule.random
        job_id = random.choice([*self._job_ids(), "$next", "no job", "J1/J2", "*"])
        what = random.choice(["get", "start-next", f"{job_id}/get", f"{job_id}/update", "notify", "x/y/z"])
        # Some of it in the name of others, which the broker must not let through.
        thing = random.choice([self.thing_name, self.thing_name, *self._others])
        topic = f"{jobs_base(thing)}/{what}"
        self.client.publish(topic, random.choice(GARBAGE), qos=random.randint(0, 1))

    def _flood(self) -> None:
        for _ in range(FLOOD):
            self._send("get", {})

    def _send(self, what: str, body: dict[str, Any]) -> None:
        # Tokens are only echoed; those of others are as good.
        self._tokens += 1
        thing = self._schedule.random.choice([self.thing_name, *self._others])
        payload = json.dumps({**body, "clientToken": f"{thing}-0-{self._tokens}"}).encode()
        self.client.publish(f"{jobs_base(self.thing_name)}/{what}", payload)
