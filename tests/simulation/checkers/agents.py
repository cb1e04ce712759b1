"""What the agent promises (architecture 4.9): the start is on disk before a step, no job runs twice unless
its document says it may, and whatever was begun is reported in the end.
"""

from typing import TYPE_CHECKING

import msgspec

from tests.simulation.checkers.base import PENDING, Checker, executions
from tests.simulation.hostile import Hostile
from thingjobs_agent.events import StartStep
from thingjobs_agent.machine.state import Limits
from thingjobs_agent.work import Checkpoint, Identity, Phase

if TYPE_CHECKING:
    from tests.simulation.world import World


class NoJobTwice(Checker):
    """Follows each step that an agent begins."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._begun: dict[tuple[str, Identity], list[int]] = {}

    def step_started(self, thing_name: str, command: StartStep, checkpoint: Checkpoint) -> None:
        if checkpoint.identity != command.identity or checkpoint.phase is not Phase.RUNNING:
            self.broken(f"{thing_name} begins {command.identity}, its disk knows {checkpoint.identity}")
            return
        begun = self._begun.setdefault((thing_name, command.identity), [])
        step = checkpoint.step_index
        on_restart = msgspec.json.decode(checkpoint.job_document).get("onRestart", "fail")
        if on_restart == "fail" and begun and step <= begun[-1]:
            self.broken(f"{thing_name} runs step {step} of {command.identity} again")
        if on_restart == "resume" and begun and step < begun[-1]:
            self.broken(f"{thing_name} goes back to step {step} of {command.identity}")
        begun.append(step)
        if begun.count(step) > Limits().restarts_max + 1:
            self.broken(f"{thing_name} runs step {step} of {command.identity} {begun.count(step)} times")


class EverythingEnds(Checker):
    """Once nothing goes wrong any more, every job on a device that plays by the rules comes to its end."""

    def _open(self) -> list[str]:
        state = self.world.tap.state
        if state is None:
            return ["the service is down"]
        hostile = {device.thing_name for device in self.world.devices if isinstance(device, Hostile)}
        found = [
            f"{one.thing_name}/{one.job_id}/{one.execution_number} {one.status}"
            for one in executions(state)
            if one.thing_name not in hostile and one.thing_name in self._names() and one.status in PENDING
        ]
        jobs = state.jobs.values()
        found += [f"{job.job_id} is {job.status}" for job in jobs if job.status == "DELETION_IN_PROGRESS"]
        found += [f"{job.job_id} is rolled out" for job in jobs if _is_rolled_out(job.status, job.rollout)]
        return found

    def _names(self) -> set[str]:
        return {device.thing_name for device in self.world.devices}

    def is_settled(self) -> bool:
        return not self._open()

    def ended(self) -> None:
        if still_open := self._open():
            self.broken(f"still not over: {still_open}")


def _is_rolled_out(status: str, rollout: object) -> bool:
    return rollout is not None and status in ("IN_PROGRESS", "SCHEDULED")
