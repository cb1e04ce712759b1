"""No timer fires early and none is lost (architecture 4.5, "Time"; data plane 6).

Early is measured against all the time that has really passed, the service being up or not; lost against the
time that it was up. So whoever sets the wall clock, and whatever it shows after a boot, changes neither.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.checkers.base import Checker, executions, found
from tests.simulation.schedule import SECOND_US
from thingjobs_broker.core.records import ExecutionChanged, ExecutionDeleted, Record
from thingjobs_broker.core.state import Execution, State

if TYPE_CHECKING:
    from tests.simulation.world import World

MINUTE_US = 60 * SECOND_US
EARLY_US_MAX = 103_000
"""Smaller steps of the wall clock are not followed, and times are rounded."""

LATE_US_MAX = 5 * SECOND_US
"""The service looks each second (6.3) and the disk may stall; and this checker looks only now and then."""

BOOT_US_MAX = 45 * SECOND_US
"""How much of the time that it was up a boot with a lost clock may forget: less than a minute ("Time")."""

Key = tuple[str, str, int, int]

Timer = tuple[int, int]
"""When it began and how long it is."""


@dataclass
class Running:
    """The timers of an execution at work. `steps` holds each step timer that it had, None for none, with the
    version that it came with: those that were lost with the power are known by it.
    """

    total: Timer | None = None
    steps: list[tuple[int, Timer | None]] = field(default_factory=list)
    up_total_us: int = 0
    up_step_us: int = 0
    boots: int = 0

    @property
    def step(self) -> Timer | None:
        return self.steps[-1][1] if self.steps else None

    def due_us(self) -> int | None:
        """When it may time out, at the earliest."""
        return min((begin + length for begin, length in filter(None, (self.total, self.step))), default=None)

    def recover(self, version: int) -> None:
        """What was lost has not happened; for how long the timer before it ran, nobody has counted."""
        while self.steps and self.steps[-1][0] > version:
            self.steps.pop()
            self.up_step_us = 0


class TimersAreExact(Checker):
    """Follows each timer by the requests that set it."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._running: dict[Key, Running] = {}
        """All that ever ran: the end of one may be lost with the power."""
        self._at_work: set[Key] = set()
        self._status = ""
        self._looked_us = 0
        self._was_up = False

    def before(self, state: State, record: Record) -> None:
        if isinstance(record, ExecutionChanged | ExecutionDeleted):
            one = found(state, record)
            self._status = one.status if one is not None else ""
            if one is not None and isinstance(record, ExecutionDeleted):
                self._at_work.discard(_key(one))

    def applied(self, state: State, record: Record) -> None:
        if not isinstance(record, ExecutionChanged):
            return
        one = found(state, record)
        if one is None:
            return
        key = _key(one)
        if one.status == "IN_PROGRESS":
            self._at_work.add(key)
            if self._status == "QUEUED":
                self._running[key] = Running(boots=self.world.machine.boots)
                config = state.jobs[one.job_id].options.get("timeoutConfig") or {}
                minutes = config.get("inProgressTimeoutInMinutes")
                if minutes:
                    self._running[key].total = self.now_us, int(minutes) * MINUTE_US
            self._set_step(self._running.setdefault(key, Running()), one.version_number, record)
            return
        self._at_work.discard(key)
        if one.status == "TIMED_OUT":
            due_us = self._running.get(key, Running()).due_us()
            if due_us is None:
                self.broken(f"{key} times out, and has no timer")
            elif self.now_us + EARLY_US_MAX < due_us:
                self.broken(f"{key} times out {(due_us - self.now_us) / SECOND_US} s early")

    def _set_step(self, running: Running, version: int, record: ExecutionChanged) -> None:
        request = self.world.tap.request
        if request is None or record.by != "device" or not isinstance(request[1], dict):
            return
        minutes = request[1].get("stepTimeoutInMinutes")
        if minutes is not None:
            timer = None if minutes == -1 else (self.now_us, int(minutes) * MINUTE_US)
            running.steps.append((version, timer))
            running.up_step_us = 0

    def recovered(self, state: State, position: int) -> None:
        """What was not durable has not happened."""
        running = {_key(one): one for one in executions(state) if one.status == "IN_PROGRESS"}
        self._at_work = set(running)
        for key, one in running.items():
            self._running.setdefault(key, Running()).recover(one.version_number)

    def looked(self) -> None:
        runner = self.world.machine.runner
        is_up = runner is not None and runner.is_writable
        passed_us, self._looked_us = self.now_us - self._looked_us, self.now_us
        if is_up and self._was_up:
            for key in sorted(self._at_work):
                self._count(key, self._running[key], passed_us)
        self._was_up = is_up
        for one in executions(runner.state) if runner is not None and runner.state is not None else ():
            if one.deadline_ms and one.status != "IN_PROGRESS":
                self.broken(f"{_key(one)} is {one.status} and has a timer")

    def _count(self, key: Key, running: Running, passed_us: int) -> None:
        running.up_total_us += passed_us
        running.up_step_us += passed_us
        late_us = LATE_US_MAX + (self.world.machine.boots - running.boots) * BOOT_US_MAX
        for timer, up_us in ((running.total, running.up_total_us), (running.step, running.up_step_us)):
            if timer is not None and up_us > timer[1] + late_us + passed_us:
                self.broken(f"{key} should have timed out after {timer[1] / SECOND_US} s")


def _key(one: Execution) -> Key:
    return one.thing_name, one.job_id, one.execution_number, one.queued_at_ms
