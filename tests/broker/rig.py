"""The runner with everything around it: a disk, a clock that a test moves, and who asks and gets answers.

async with Rig() as rig:
    await rig.control("CreateThing", thingName="A")
    answer = await rig.update("A", "J1", "IN_PROGRESS")
"""

import asyncio
import json
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, Self

import pytest

from tests.broker.core.world import DOCUMENT, START_MS
from tests.broker.store.faults import SimulatedDisk
from thingjobs_broker import runner as runner_module
from thingjobs_broker.core.outcome import Message
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.state import State
from thingjobs_broker.runner import Runner
from thingjobs_broker.snapshotter import Policy, Snapshotter
from thingjobs_broker.store.store import Store
from thingjobs_protocol import topics

ANSWER_SECONDS_MAX = 5.0


class Answer(NamedTuple):
    """The reply to a request: accepted or rejected, and its body."""

    ending: str
    body: dict[str, Any]

    @property
    def code(self) -> str | None:
        """Why it was rejected, None for an accepted one."""
        return self.body["code"] if self.ending == "rejected" else None


class RigClock:
    """Stands still unless a test moves it."""

    boot_id = "boot"
    is_lost = False

    def __init__(self) -> None:
        self.now = START_MS
        self.correction_ms = 0

    def now_ms(self) -> int:
        return self.now

    def uptime_ms(self) -> int:
        return self.now - START_MS

    def behind_ms(self) -> int:
        return self.correction_ms

    def follow(self, delta_ms: int) -> None:
        assert delta_ms == self.correction_ms, "nothing to follow"
        self.now, self.correction_ms = self.now + delta_ms, 0


class SharedDisk(SimulatedDisk):
    """A simulated disk for several threads: one operation at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.RLock()


def _in_turn(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: SharedDisk, *arguments: Any, **options: Any) -> Any:
        with self._turn:
            return method(self, *arguments, **options)

    return call


for _name in (
    *("make_directory", "list_names", "create", "open", "read", "rename", "remove", "sync_directory"),
    *("free_bytes", "write", "truncate", "sync", "after_power_cut"),
):
    setattr(SharedDisk, _name, _in_turn(getattr(SimulatedDisk, _name)))


class Rig:
    """See the module. `published` holds every message in order."""

    def __init__(self, disk: SharedDisk | None = None, store: Store | None = None) -> None:
        self.disk = disk or SharedDisk()
        self.store = store or Store(self.disk, self.disk.root, reserve_bytes=10_000)
        self.clock = RigClock()
        self.published: list[Message] = []
        self.failures: list[BaseException] = []
        self._ids = 0
        self._patch = pytest.MonkeyPatch()

    async def __aenter__(self) -> Self:
        self._patch.setattr(runner_module, "MEND_SECONDS", 0.001)
        self.runner = Runner(
            self.store.load(),
            self.store,
            self._new_service,
            self.clock,
            self,
            failed=self.failures.append,
        )
        self.runner.start()
        self.snapshotter = Snapshotter(self.runner, self.store, Policy(1, 0.0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._patch.undo()
        await self.snapshotter.close()
        self.last_state = await self.runner.close()
        self.store.close()

    # Requests

    def ask(self, topic: str, body: dict[str, Any]) -> "asyncio.Future[Answer]":
        """Send a request now; its answer comes later."""
        settled: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        begin = len(self.published)

        def answered() -> None:
            for message in self.published[begin:]:
                if message.topic in (f"{topic}/accepted", f"{topic}/rejected"):
                    reply = json.loads(message.payload())
                    if reply.get("clientToken") == body["clientToken"]:
                        settled.set_result(Answer(message.topic.rpartition("/")[2], reply))

        self._ids += 1
        body = {**body, "clientToken": str(self._ids)}
        payload = json.dumps(body).encode()
        request = topics.parse_request(topic)
        if request is not None:
            self.runner.handle(request, payload, answered)
        else:
            control = topics.parse_control(topic)
            assert control is not None, topic
            self.runner.call(control, payload, "operator", answered)
        return settled

    async def answer(self, topic: str, body: dict[str, Any]) -> Answer:
        """Send a request and wait for its answer."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            return await self.ask(topic, body)

    async def device(self, thing: str, what: str, **members: Any) -> Answer:
        return await self.answer(f"$aws/things/{thing}/jobs/{what}", members)

    async def update(self, thing: str, job_id: str, status: str, **members: Any) -> Answer:
        return await self.device(thing, f"{job_id}/update", status=status, **members)

    async def control(self, operation: str, **members: Any) -> Answer:
        return await self.answer(topics.control_topic("op", operation), members)

    async def create_job(self, job_id: str, *things: str) -> None:
        """A job for things that are registered with it."""
        for thing in things:
            assert (await self.control("CreateThing", thingName=thing)).code is None
        answer = await self.control("CreateJob", jobId=job_id, targets=things, document=DOCUMENT)
        assert answer.code is None, answer

    async def until_writable(self) -> None:
        """Return when changes are taken again."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            while not self.runner.is_writable:
                await asyncio.sleep(0.001)

    @property
    def state(self) -> State:
        assert self.runner.state is not None
        return self.runner.state

    # runner.Publisher

    def publish(self, message: Message) -> None:
        # Encoded at once: what leaves is what the state was then.
        self.published.append(Message(message.topic, json.loads(message.payload())))

    def flush(self) -> None:
        """Nothing is held back."""

    def _new_service(self, state: State) -> JobsService:
        self._ids += 1
        return JobsService(state, lambda: f"id-{self._ids}-{len(self.published)}")
