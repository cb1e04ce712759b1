"""Devices that work through jobs as real ones do, and an operator who sees to it that there are always some.

All of them note in the ledger what they ask before they ask it, and all that they are told.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

from tests.end_to_end.crashes.client import Client
from tests.end_to_end.crashes.ledger import Fact, Key, Ledger

ANSWER_SECONDS_MAX = 2.0
RECONNECT_SECONDS = 0.05
THINK_SECONDS_MAX = 0.03
JOBS = "$aws/things/{}/jobs"
CONTROL = "$aws/control/ada"
SUPPLY_PER_DEVICE = 2
"""Executions that nobody has taken up yet; the operator makes more when there are fewer."""


class Peer:
    """A client that asks and is answered, across connections. `tokens` never repeat."""

    def __init__(self, name: str, filters: list[str], random: Random) -> None:
        self.client = Client(name, filters, self.heard)
        self.random = random
        self._tokens = (f"{name}-{number}" for number in itertools.count(1))
        self._answers: dict[str, asyncio.Future[tuple[bool, dict[str, Any]]]] = {}

    def heard(self, topic: str, body: dict[str, Any]) -> None:
        """A message has arrived."""
        answer = self._answers.pop(body.get("clientToken", ""), None)
        if answer is not None and not answer.done():
            answer.set_result((topic.endswith("/accepted"), body))

    def new_token(self) -> str:
        """Names one request."""
        return next(self._tokens)

    async def ask(self, topic: str, token: str, body: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Whether it was accepted, and the answer; raises TimeoutError, ConnectionError."""
        answer = self._answers[token] = asyncio.get_running_loop().create_future()
        acknowledged = asyncio.ensure_future(self.client.publish(topic, {**body, "clientToken": token}))
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await asyncio.wait({acknowledged, answer}, return_when=asyncio.FIRST_COMPLETED)
                if acknowledged.done() and not answer.done():
                    acknowledged.result()
                result: tuple[bool, dict[str, Any]] = await answer
                return result
        finally:
            self._answers.pop(token, None)
            acknowledged.cancel()
            # Its own end is no news; that of whoever asks must get through, or nobody can stop the fleet.
            await asyncio.wait({acknowledged})
            if not acknowledged.cancelled():
                acknowledged.exception()


class Device(Peer):
    """Takes up one execution after the other, reports progress, and ends it.

    A `deaf` one does not hear the answers to its updates: what it is told is that they are acknowledged.
    """

    def __init__(self, thing: str, name: str, ledger: Ledger, random: Random, *, deaf: bool) -> None:
        jobs = JOBS.format(thing)
        filters = [f"{jobs}/start-next/+", f"{jobs}/notify-next"]
        super().__init__(name, filters if deaf else [*filters, f"{jobs}/+/update/+"], random)
        self.answered = 0
        self._thing = thing
        self._jobs = jobs
        self._ledger = ledger
        self._deaf = deaf
        self._something_new = asyncio.Event()

    async def run(self, port: int) -> None:
        """Work until canceled, over every loss."""
        while True:
            with suppress(OSError, TimeoutError):
                if not self.client.is_connected:
                    await self.client.connect(port)
                while True:
                    await self._work()
            await asyncio.sleep(RECONNECT_SECONDS * self.random.uniform(0.5, 1.5))

    def heard(self, topic: str, body: dict[str, Any]) -> None:
        """Every answer and notification is a fact, whoever asked."""
        levels = topic.split("/")[4:]
        if "execution" in body:
            self._note(body["execution"].get("jobId"), body["execution"], "/".join(levels))
        elif "executionState" in body:
            self._note(levels[0], body["executionState"], "/".join(levels[1:]))
        if levels == ["notify-next"]:
            self._something_new.set()
        super().heard(topic, body)

    def _note(self, job_id: str | None, shown: dict[str, Any], source: str) -> None:
        if job_id is not None:
            self._ledger.told(Key(self._thing, job_id), fact_of(shown), source, shown.get("startedAt"))

    async def _work(self) -> None:
        token = self.new_token()
        self._ledger.will_start(self._thing, token)
        self._something_new.clear()
        _, answer = await self.ask(f"{self._jobs}/start-next", token, {"statusDetails": {"token": token}})
        self.answered += 1
        execution = answer.get("execution")
        if execution is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._something_new.wait()
            return
        version = execution["versionNumber"]
        for _ in range(self.random.randrange(5)):
            reached = await self._update(execution["jobId"], version, "IN_PROGRESS")
            if reached is None:
                return
            version = reached
        await self._update(execution["jobId"], version, self.random.choice(["SUCCEEDED", "FAILED"]))

    async def _update(self, job_id: str, version: int, status: str) -> int | None:
        """The version that was reached; None when somebody else has changed it meanwhile, or ended it."""
        await asyncio.sleep(self.random.uniform(0, THINK_SECONDS_MAX))
        token, key = self.new_token(), Key(self._thing, job_id)
        wanted = Fact(version + 1, status, token)
        self._ledger.will_update(key, wanted)
        body = {
            "status": status,
            "statusDetails": {"token": token},
            "expectedVersion": version,
            "includeJobExecutionState": True,
        }
        topic = f"{self._jobs}/{job_id}/update"
        if self._deaf:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await self.client.publish(topic, {**body, "clientToken": token})
            self._ledger.told(key, wanted, "an acknowledgment")
            accepted = True
        else:
            accepted, _ = await self.ask(topic, token, body)
        self.answered += 1
        return version + 1 if accepted else None


class Operator(Peer):
    """Makes jobs for all things, and looks what the service knows."""

    def __init__(self, things: list[str], ledger: Ledger, random: Random) -> None:
        super().__init__("ada", [f"{CONTROL}/+/accepted", f"{CONTROL}/+/rejected"], random)
        self._things = things
        self._ledger = ledger
        self._number = 0
        self._port = 0
        self._connecting = asyncio.Lock()

    async def run(self, port: int) -> None:
        """Make jobs until canceled."""
        self._port = port
        for thing in self._things:
            await self.call("CreateThing", {"thingName": thing})
        while True:
            supply = (self._number + 1) * len(self._things) - len(self._ledger.executions())
            if supply < SUPPLY_PER_DEVICE * len(self._things):
                await self._create(f"j{self._number + 1}")
            await asyncio.sleep(0.02)

    async def _create(self, job_id: str) -> None:
        job = {"jobId": job_id, "targets": self._things, "document": "{}"}
        accepted, answer = await self.call("CreateJob", job)
        # The answer to the first may have been lost: then it is there already.
        if not accepted and "already exists" not in answer["message"]:
            self._ledger.differences.append(f"{job_id} is refused: {answer['message']}")
        self._number += 1
        self._ledger.job_accepted(job_id)

    async def call(self, operation: str, body: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Ask until there is an answer."""
        while True:
            with suppress(OSError, TimeoutError):
                async with self._connecting:
                    if not self.client.is_connected:
                        await self.client.connect(self._port)
                return await self.ask(f"{CONTROL}/{operation}", self.new_token(), body)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def compare(self, keys: set[Key], jobs: set[str]) -> int:
        """Compare what was told of these with what the service knows now; return how many they are."""
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(self._compare(key))
            for job_id in jobs:
                group.create_task(self._compare_job(job_id))
        return len(keys) + len(jobs)

    async def _compare(self, key: Key) -> None:
        at_least = self._ledger.newest(key)
        _, answer = await self.call("DescribeJobExecution", {"jobId": key.job_id, "thingName": key.thing})
        shown = answer.get("execution")
        if shown is not None:
            details = shown["statusDetails"]["detailsMap"]
            fact = Fact(shown["versionNumber"], shown["status"], details.get("token", ""))
            self._ledger.known(key, fact, at_least)
        else:
            self._ledger.known(key, None, at_least)

    async def _compare_job(self, job_id: str) -> None:
        accepted, _ = await self.call("DescribeJob", {"jobId": job_id})
        self._ledger.known_job(job_id, exists=accepted)


def fact_of(shown: dict[str, Any]) -> Fact:
    """What a device is shown."""
    return Fact(shown["versionNumber"], shown["status"], shown.get("statusDetails", {}).get("token", ""))


class Fleet:
    """Devices at work; see `at_work`. Three in ten are deaf; one in ten shares its thing with another."""

    def __init__(self, devices: int, ledger: Ledger, seed: int, *, deaf: bool = True) -> None:
        """Without `deaf` all hear everything: a broker that may be killed promises nothing."""
        self.ledger = ledger
        self.things = [f"press-{number}" for number in range(devices)]
        self.operator = Operator(self.things, ledger, Random(f"{seed} operator"))
        self.devices = [
            Device(
                thing,
                f"{thing}-a",
                ledger,
                Random(f"{seed} {thing}"),
                deaf=deaf and number % 10 in (2, 5, 8),
            )
            for number, thing in enumerate(self.things)
        ]
        self.devices += [
            Device(thing, f"{thing}-b", ledger, Random(f"{seed} {thing} b"), deaf=False)
            for number, thing in enumerate(self.things)
            if number % 10 == 0
        ]
        self._compared: dict[Key, int] = {}
        self._compared_jobs: set[str] = set()

    @property
    def answered(self) -> int:
        """Requests of devices that were answered, or acknowledged where nothing else is heard."""
        return sum(device.answered for device in self.devices)

    @asynccontextmanager
    async def at_work(self, port: int) -> AsyncIterator[None]:
        """Work until the block is left; losses of the connection are no reason to stop."""
        peers: list[Device | Operator] = [*self.devices, self.operator]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(peer.run(port)) for peer in peers]
                try:
                    yield
                finally:
                    for task in tasks:
                        task.cancel()
        finally:
            for peer in peers:
                peer.client.close()

    async def compare(self, *, everything: bool = False) -> int:
        """Compare what was told since the last time, or ever, with what is known; return how much it was."""
        keys = self.ledger.executions()
        jobs = self.ledger.jobs()
        if not everything:
            keys = {key for key in keys if self.ledger.newest(key) != self._compared.get(key)}
            jobs -= self._compared_jobs
        self._compared |= {key: self.ledger.newest(key) for key in keys}
        self._compared_jobs |= jobs
        return await self.operator.compare(keys, jobs)
