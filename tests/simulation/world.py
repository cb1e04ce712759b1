"""One world: everything in it, its story from the seed to the quiet end, and what its checkers found."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import structlog

from tests.simulation import small
from tests.simulation.agent_device import AgentDevice
from tests.simulation.checkers import ALL, Checker
from tests.simulation.client import Client
from tests.simulation.disasters import Disasters
from tests.simulation.hostile import Hostile
from tests.simulation.machine import Machine
from tests.simulation.network import OPERATOR, Network
from tests.simulation.operator import CLIENT_ID, Operator
from tests.simulation.schedule import SECOND_US, Schedule
from tests.simulation.tap import Tap
from tests.simulation.well_behaved import WellBehaved
from thingjobs_protocol.topics import DEFAULT_ROOT, jobs_base

Device = WellBehaved | AgentDevice | Hostile

CHAOS_SECONDS = (60.0, 900.0)
QUIET_SECONDS_MAX = 9000.0
LOOK_SECONDS = 15.0
SLEEPERS = ("Z1", "Z2")
"""Things whose devices are never switched on: what they are given waits."""

ENDS = ("accepted", "rejected")


class Found(NamedTuple):
    """A promise that was broken: the checker that noticed, what it saw, and when."""

    checker: str
    what: str
    at_us: int


class Result(NamedTuple):
    """The story of one seed."""

    seed: int
    digest: str
    found: Found | None
    last: list[str]
    lives: int
    line_count: int

    def __str__(self) -> str:
        if self.found is None:
            return f"seed {self.seed}: {self.digest}, {self.lives} lives, {self.line_count} events"
        trace = "\n".join(f"    {line[:300]}" for line in self.last)
        return (
            f"seed {self.seed} breaks {self.found.checker} at {self.found.at_us / SECOND_US:.6f} s: "
            f"{self.found.what}\n  replay it with: make simulate SEED={self.seed}\n"
            f"  the last events:\n{trace}"
        )


class World:
    """See the module; `run` tells the story."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.found: Found | None = None
        self.schedule = schedule = Schedule(seed)
        self.network = network = Network(schedule)
        self.tap = Tap(self)
        self.machine = Machine(network, self.failed, self.tap.listen_to)
        random = schedule.random
        names = [f"T{number}" for number in range(1, random.randint(3, 9))]
        self.hostile_names = [name for name in names[1:] if random.random() < 0.2]
        agent_names = [name for name in names if name not in self.hostile_names and random.random() < 0.5]
        self.checkers: list[Checker] = [kind(self) for kind in ALL]
        operator = self._client(CLIENT_ID, OPERATOR)
        self.operator = Operator(schedule, operator, [*names, *SLEEPERS], ["new1", "new2"])
        self.agents: list[AgentDevice] = []
        self.devices: list[Device] = []
        for name in names:
            self.devices.append(self._device(name, name in agent_names, names))
        self.disasters = Disasters(self)
        self.is_calm = False

    def failed(self, checker: str, what: str) -> None:
        """Note a broken promise; only the first counts."""
        if self.found is None:
            self.found = Found(checker, what, self.schedule.now_us)
            self.schedule.note("BROKEN", checker, what)

    def run(self) -> Result:
        """From the first start to the quiet end, or to the first broken promise."""
        schedule = self.schedule
        with pytest.MonkeyPatch.context() as patch:
            self.machine.replace(patch)
            self.tap.replace(patch)
            small.replace(patch, schedule)
            try:
                self._begin()
                self._let_pass(schedule.random.uniform(*CHAOS_SECONDS), lambda: False)
                self._calm_down()
                self._let_pass(QUIET_SECONDS_MAX, self._is_settled)
                self._let_pass(QUIET_SECONDS_MAX, self._is_durable)
                for checker in self.checkers:
                    if self.found is None:
                        checker.ended()
            finally:
                self.machine.scrap()
                structlog.reset_defaults()
        trace = schedule.trace
        lives = self.machine.lives
        return Result(self.seed, trace.digest, self.found, list(trace.last), lives, trace.line_count)

    def _begin(self) -> None:
        self.machine.start()
        self.operator.switch_on()
        for device in self.devices:
            self.schedule.after(self.schedule.seconds(0.0, 20.0), device.switch_on)
        self.disasters.strike_later()

    def _let_pass(self, seconds: float, is_enough: Callable[[], bool]) -> None:
        """Let time pass, looking around now and then."""
        schedule = self.schedule
        until_us = schedule.now_us + round(seconds * SECOND_US)
        while schedule.now_us < until_us and self.found is None and not is_enough():
            schedule.run_until(min(schedule.now_us + round(LOOK_SECONDS * SECOND_US), until_us))
            for checker in self.checkers:
                checker.looked()

    def _calm_down(self) -> None:
        self.is_calm = True
        self.disasters.end()
        self.operator.is_quiet = True
        for device in self.devices:
            if isinstance(device, Hostile):
                device.is_quiet = True
        if self.machine.is_on:
            self.machine.set_wall(0)

    def _is_settled(self) -> bool:
        """Nothing is left to do for anybody who plays by the rules."""
        return all(checker.is_settled() for checker in self.checkers)

    def _is_durable(self) -> bool:
        """Nothing is on its way to the disk."""
        runner = self.machine.runner
        return runner is not None and runner.commits.position == runner.commits._durable_position

    # The inhabitants

    def _client(self, client_id: str, user: str) -> Client:
        if user == OPERATOR:
            filters = [f"{DEFAULT_ROOT}/control/{client_id}/+/+", f"{DEFAULT_ROOT}/events/#"]
        else:
            base = jobs_base(user)
            filters = [f"{base}/notify", f"{base}/notify-next"]
            filters += [f"{base}/{what}/{end}" for what in ("get", "start-next") for end in ENDS]
            filters += [f"{base}/+/{what}/{end}" for what in ("get", "update") for end in ENDS]
        is_persistent = user == OPERATOR or self.schedule.chance(0.5)
        return Client(self.network, client_id, user, filters, is_persistent=is_persistent)

    def _device(self, name: str, is_agent: bool, names: list[str]) -> Device:
        client = self._client(name, name)
        device: Device
        if name in self.hostile_names:
            device = Hostile(self.schedule, client, lambda: self.operator.job_ids, names)
        elif is_agent:
            device = AgentDevice(self.schedule, client, self.tap.step_started, self.tap.job_finished)
            self.agents.append(device)
        else:
            device = WellBehaved(self.schedule, client)
        heard = client.heard

        def tapped(topic: str, payload: bytes) -> None:
            self.tap.heard(name, topic, payload)
            heard(topic, payload)

        client.heard = tapped
        return device


def run(seed: int) -> Result:
    """Tell the story of a seed."""
    return World(seed).run()
