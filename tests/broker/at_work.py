"""The runner at work for tests: the real rules and state, a disk that can be held and can refuse, a clock to
move.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from tests.broker.core.world import DOCUMENT, START_MS
from thingjobs_broker.core.outcome import Message
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.state import State
from thingjobs_broker.runner import Runner
from thingjobs_broker.store.record_codec import unpack
from thingjobs_broker.store.store import Store
from thingjobs_protocol import topics
from thingjobs_protocol.errors import InvalidTopic

PATIENCE_S = 10.0


class Disk:
    """A store that keeps entries in a list. `hold` stops appends in their thread, `refusal` fails them."""

    def __init__(self) -> None:
        self.appends: list[list[bytes]] = []
        self.refusal: Exception | None = None
        self.room = True
        self.replayed_bytes = 0
        self._free = threading.Event()
        self._free.set()

    @property
    def position(self) -> int:
        return sum(map(len, self.appends))

    def hold(self) -> None:
        """From now on appends wait."""
        self._free.clear()

    def let_go(self) -> None:
        """Appends go on."""
        self._free.set()

    def append(self, entries: Sequence[bytes]) -> bool:
        assert self._free.wait(PATIENCE_S)
        if self.refusal is not None:
            raise self.refusal
        self.appends.append(list(entries))
        return self.room

    def has_room(self, *, again: bool = False) -> bool:
        return self.room

    def reopen(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def load(self, *, read_only: bool = False) -> State:
        state = State()
        for entries in self.appends:
            for entry in entries:
                for record in unpack(entry):
                    state.apply(record)
        return state


class HandClock:
    """Time that a test moves."""

    boot_id = "boot"
    is_lost = False

    def __init__(self) -> None:
        self.ms = START_MS
        self.correction_ms = 0

    def now_ms(self) -> int:
        return self.ms

    def uptime_ms(self) -> int:
        return self.ms - START_MS

    def behind_ms(self) -> int:
        return self.correction_ms

    def follow(self, delta_ms: int) -> None:
        self.correction_ms -= delta_ms
        self.ms += delta_ms


class AtWork:
    """A running runner. `log` holds, in order, the topics published, `settled ...` and `flush`."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.clock = HandClock()
        self.log: list[str] = []
        self.bodies: dict[str, dict[str, Any]] = {}
        """The last body by topic."""
        self.durable_at: dict[str, int] = {}
        """How many entries were durable when a topic was last published."""
        self.failures: list[BaseException] = []
        self._ids = iter(range(1, 1_000_000))
        self.runner = self._new_runner(State())

    def _new_runner(self, state: State) -> Runner:
        return Runner(
            state,
            cast("Store", self.disk),
            lambda state: JobsService(state, lambda: f"id-{next(self._ids)}"),
            self.clock,
            self,
            failed=self.failures.append,
        )

    def start_again(self) -> None:
        """A new runner on what is durable, as after a restart of the service."""
        self.forget()
        self.runner = self._new_runner(self.disk.load())
        self.runner.start()

    # runner.Publisher

    def publish(self, message: Message) -> None:
        self.log.append(message.topic)
        self.bodies[message.topic] = json.loads(message.payload())
        self.durable_at[message.topic] = self.disk.position

    def flush(self) -> None:
        self.log.append("flush")

    # What a test does.

    def device(self, what: str, thing_name: str = "T", **members: Any) -> str:
        """A device's request; returns its topic."""
        topic = f"$aws/things/{thing_name}/jobs/{what}"
        payload, settled = json.dumps(members).encode(), lambda: self.log.append(f"settled {topic}")
        try:
            request = topics.parse_request(topic)
        except InvalidTopic as refusal:
            self.runner.refuse(topic, refusal, payload, settled)
        else:
            assert request is not None
            self.runner.handle(request, payload, settled)
        return topic

    def control(self, operation: str, **members: Any) -> str:
        """An operator's request; returns its topic."""
        request = topics.ControlTopic(f"$aws/control/op/{operation}", "op", operation)
        self.runner.call(request, json.dumps(members).encode(), "ada", None)
        return request.topic

    async def running_job(self, job_id: str = "J", **members: Any) -> None:
        """A job that runs on T at version 2."""
        self.control("CreateThing", thingName="T")
        self.control("CreateJob", jobId=job_id, targets=["T"], document=DOCUMENT, **members)
        await self.answered(self.device("start-next"))

    async def answered(self, topic: str) -> dict[str, Any]:
        """The answer, once it is there."""
        answers = (f"{topic}/accepted", f"{topic}/rejected")
        await self.until(lambda: any(answer in self.log for answer in answers))
        return next(self.bodies[answer] for answer in answers if answer in self.log)

    async def until(self, holds: Callable[[], object]) -> None:
        """Returns once something holds; the loop turns meanwhile."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # What is waited for sets no event.
                await asyncio.sleep(0.001)

    async def turns(self, count: int = 50) -> None:
        """Lets the loop turn: whatever could happen without the disk happens."""
        for _ in range(count):
            await asyncio.sleep(0)

    def forget(self) -> None:
        """Begin the log anew."""
        self.log.clear()


@asynccontextmanager
async def at_work() -> AsyncIterator[AtWork]:
    """A runner that has started, with its first record durable."""
    working = AtWork()
    working.runner.start()
    await working.until(lambda: working.disk.appends)
    await working.turns()
    working.forget()
    try:
        yield working
    finally:
        working.disk.let_go()
        await working.runner.close()
