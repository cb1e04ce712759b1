"""A world with thing groups that are plain sets, so that jobs can be tested without the registry."""

from typing import Any

from tests.broker.core.world import Sent, World
from thingjobs_broker.core.ports import Ports, Rules
from thingjobs_broker.core.service import JobsService
from thingjobs_broker.core.state import State


class SetGroups:
    """Groups by name, without a hierarchy."""

    def __init__(self) -> None:
        self.things: dict[str, set[str]] = {}

    def exists(self, _state: State, group_name: str) -> bool:
        return group_name in self.things

    def members(self, _state: State, group_name: str) -> list[str]:
        return sorted(self.things[group_name])

    def contains(self, _state: State, group_name: str, thing_name: str) -> bool:
        return thing_name in self.things.get(group_name, ())

    def id_of(self, _state: State, group_name: str) -> str | None:
        return f"id-of-{group_name}" if group_name in self.things else None

    def name_of(self, _state: State, group_id: str) -> str | None:
        return next((name for name in self.things if f"id-of-{name}" == group_id), None)


class GroupWorld(World):
    """A world whose things can join and leave groups."""

    def __init__(self, *things: str, rules: Rules | None = None, **members: Any) -> None:
        self.groups = SetGroups()
        self.ports = Ports(groups=self.groups, rules=rules or Rules())
        super().__init__(*things, **members)

    def group(self, group_name: str, *things: str) -> None:
        """Make a group before any job knows it."""
        self.groups.things[group_name] = set(things)

    def join(self, thing_name: str, group_name: str) -> list[Sent]:
        """A thing joins a group, as the registry tells it."""
        self.groups.things[group_name].add(thing_name)
        step = self.service._step(self.now_ms)
        step.joined(self.thing(thing_name), group_name)
        return self._take(self.service._finish(step))

    def leave(self, thing_name: str, group_name: str) -> list[Sent]:
        """A thing leaves a group."""
        self.groups.things[group_name].discard(thing_name)
        step = self.service._step(self.now_ms)
        step.left(self.thing(thing_name), group_name)
        return self._take(self.service._finish(step))

    def _new_service(self) -> JobsService:
        return JobsService(self.state, self._new_id, self.naming, ports=self.ports)

    def made(self, job_id: str) -> int:
        """How many executions a job has."""
        return len(self.job(job_id).executions)

    def described(self, job_id: str) -> dict[str, Any]:
        """The job as DescribeJob shows it."""
        job: dict[str, Any] = self.control("DescribeJob", jobId=job_id)["job"]
        return job


def numbered(count: int) -> list[str]:
    """The names of so many things, in order."""
    return [f"T{number:05}" for number in range(count)]
