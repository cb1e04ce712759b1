"""A world with thing groups: short ways to make them and to let things join and leave."""

from typing import Any

from tests.broker.core.world import Sent, World
from thingjobs_broker.core.ports import Ports, Rules
from thingjobs_broker.core.records import GroupCreated, Record, ThingCreated, ThingGroupsChanged
from thingjobs_broker.core.service import JobsService


class GroupWorld(World):
    """A world whose things can join and leave groups."""

    def __init__(self, *things: str, rules: Rules | None = None, **members: Any) -> None:
        self.ports = Ports(rules=rules or Rules())
        super().__init__(*things, **members)

    def group(self, group_name: str, *things: str, parent: str = "") -> None:
        """Make a group with members before any job knows it, without an operation: it may be large."""
        group_id = f"id-of-{group_name}"
        parent_id = self.state.group_ids[parent] if parent else ""
        self.put(GroupCreated(group_name, group_id, self.now_ms, "test", parent_id, "", {}))
        for thing_name in things:
            self.put(ThingGroupsChanged(thing_name, self.now_ms, "test", [group_id], []))

    def things(self, *things: str) -> None:
        """Register things without an operation, so that they may be many."""
        for thing_name in things:
            self.put(ThingCreated(thing_name, f"id-of-{thing_name}", self.now_ms, "test"))

    def put(self, record: Record) -> None:
        """Apply a record and keep it."""
        self.state.apply(record)
        self.journal.append(record)

    def join(self, thing_name: str, group_name: str) -> list[Sent]:
        """A thing joins a group; what was sent but for the answer."""
        return self._asked("AddThingToThingGroup", thingName=thing_name, thingGroupName=group_name)

    def leave(self, thing_name: str, group_name: str) -> list[Sent]:
        """A thing leaves a group."""
        return self._asked("RemoveThingFromThingGroup", thingName=thing_name, thingGroupName=group_name)

    def _asked(self, operation: str, **members: Any) -> list[Sent]:
        answer, *sent = self.call(operation, members)
        assert answer.ending == "accepted", answer
        return sent

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
