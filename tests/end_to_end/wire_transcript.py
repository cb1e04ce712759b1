"""Carries out the transcripts of `tests/scenarios` on the wire: commands are published, what comes is shown.

One client is device, operator and listener, so the whole order of a transcript is checked. In every name a
mark stands that keeps the cases apart; it is taken out again before the comparison. Ids of events are random
here: they are checked and shown as "id".
"""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from tests.end_to_end.jobs_client import DOCUMENT, Arrived, JobsClient
from tests.end_to_end.wire_fixtures import WireService, new_name
from tests.scenarios.transcript import Block, Case, duration_ms, expanded, shown


async def perform(case: Case, service: WireService) -> tuple[str, str]:
    """Carry out a case; return it as it stands in the file, and with what was really printed."""
    mark = new_name("")
    async with JobsClient.connect(
        service.port, "$aws/events/#", f"$aws/control/op{mark}/+/+", client_id=f"op{mark}"
    ) as client:
        stage = Stage(service, client, mark)
        await stage.things("T")
        printed = [
            Block(block.line, await stage.execute(block) if block.is_command else []) for block in case.blocks
        ]
    return _text(case.blocks), _text(printed)


def _text(blocks: list[Block]) -> str:
    text = "\n".join(line for block in blocks for line in (block.line, *block.expected)).rstrip("\n")
    return re.sub(r'"eventId":"id-\d+"', '"eventId":"id"', text)


class Stage:
    """The commands of a transcript, for one case."""

    def __init__(self, service: WireService, client: JobsClient, mark: str) -> None:
        self._service = service
        self._client = client
        self._mark = mark
        self._start_s = service.align()
        self._job_ids: list[str] = []
        self._event_ids: set[str] = set()
        self._commands: dict[str, Callable[[str], Awaitable[list[str]]]] = {
            "device": self.device,
            "control": self.control,
            "job": self.job,
            "jobs": self.jobs,
            "things": self.things,
            "group": self.group,
            "join": self.join,
            "leave": self.leave,
            "clock": self.clock,
            "raw": self.raw,
            "executions": self.executions,
        }

    async def execute(self, block: Block) -> list[str]:
        """Carry out the command of a block; return what it prints."""
        command = block.line[2:]
        if command.startswith("restart"):
            printed = await self.restart(command.removeprefix("restart").strip())
            # Whoever was to hear it is cut off where the broker restarts with the service.
            return printed if self._service.outlives_restart else block.expected
        is_given = command.startswith("given ")
        name, _, rest = command.removeprefix("given ").partition(" ")
        printed = await self._commands[name](rest)
        if not is_given:
            return printed
        refused = [line for line in printed if line.partition(" ")[0].endswith("/rejected")]
        assert not refused, refused
        return []

    # The commands.

    async def device(self, rest: str) -> list[str]:
        thing_name, what, payload = (*rest.split(" ", 2), "")[:3]
        topic = f"$aws/things/{thing_name}/jobs/{what}"
        return self._lines(await self._client.ask(self._marked_topic(topic), expanded(payload)))

    async def control(self, rest: str) -> list[str]:
        operation, _, payload = rest.partition(" ")
        members = json.loads(expanded(payload) or "{}")
        for name in {"jobId", "thingName"} & members.keys():
            members[name] += self._mark
        if "targets" in members:
            members["targets"] = [target + self._mark for target in members["targets"]]
        if operation == "CreateJob":
            self._job_ids.append(members["jobId"])
        return self._lines(await self._call(operation, members))

    async def job(self, rest: str) -> list[str]:
        job_id, _, members = rest.partition(" ")
        request = {"jobId": job_id, "targets": ["T"], "document": DOCUMENT, **json.loads(members or "{}")}
        return await self.control(f"CreateJob {json.dumps(request)}")

    async def jobs(self, rest: str) -> list[str]:
        return [line for job_id in rest.split() for line in await self.job(job_id)]

    async def things(self, rest: str) -> list[str]:
        for thing_name in rest.split():
            await self._client.subscribe(f"$aws/things/{thing_name}{self._mark}/jobs/#")
            await self.control(f"CreateThing {json.dumps({'thingName': thing_name})}")
        return []

    async def group(self, rest: str) -> list[str]:
        group_name, *things = rest.split()
        await self._call("CreateThingGroup", {"thingGroupName": group_name + self._mark})
        for thing_name in things:
            await self.join(f"{thing_name} {group_name}")
        return []

    async def join(self, rest: str) -> list[str]:
        return await self._changed("AddThingToThingGroup", rest)

    async def leave(self, rest: str) -> list[str]:
        return await self._changed("RemoveThingFromThingGroup", rest)

    async def _changed(self, operation: str, rest: str) -> list[str]:
        thing_name, group_name = (name + self._mark for name in rest.split())
        members = {"thingName": thing_name, "thingGroupName": group_name}
        answer, *found = await self._call(operation, members)
        assert answer.ending == "accepted", answer
        return self._lines(found) or ["(nothing happens)"]

    async def clock(self, rest: str) -> list[str]:
        self._service.advance(duration_ms(rest))
        return self._lines(await self._client.settle()) or ["(nothing happens)"]

    async def raw(self, rest: str) -> list[str]:
        topic, _, payload = rest.partition(" ")
        found = await self._client.ask(self._marked_topic(topic), payload)
        found += await self._client.settle("no-operation")
        return self._lines(found) or ["(not answered)"]

    async def executions(self, rest: str) -> list[str]:
        """Asked of the control plane; in the order of queueing."""
        found: list[tuple[float, int, int, str]] = []
        for index, job_id in enumerate(self._job_ids):
            (answer,) = await self._call("ListJobExecutionsForJob", {"jobId": job_id})
            for summary in answer.body["executionSummaries"]:
                if not summary["thingArn"].endswith(f"/{rest}{self._mark}"):
                    continue
                number = summary["jobExecutionSummary"]["executionNumber"]
                execution = await self._execution(job_id, rest + self._mark, number)
                line = f"{job_id}#{number} {execution['status']} v{execution['versionNumber']}"
                found.append((execution["queuedAt"], index, number, line))
        return [line.replace(self._mark, "") for *_, line in sorted(found)] or ["(none)"]

    async def restart(self, rest: str) -> list[str]:
        self._service.restart(duration_ms(rest) if rest else 0)
        if not self._service.outlives_restart:
            await self._client.reconnect()
        return self._lines(await self._client.settle()) or ["(the same state, nothing happens)"]

    # Helpers.

    async def _call(self, operation: str, members: dict[str, Any]) -> list[Arrived]:
        found = await self._client.ask(f"$aws/control/{self._client.client_id}/{operation}", members)
        return [message for message in found if self._mark in message.topic]

    async def _execution(self, job_id: str, thing_name: str, number: int) -> dict[str, Any]:
        members = {"jobId": job_id, "thingName": thing_name, "executionNumber": number}
        (answer,) = await self._call("DescribeJobExecution", members)
        execution: dict[str, Any] = answer.body["execution"]
        return execution

    def _marked_topic(self, topic: str) -> str:
        """A topic of a device with the mark behind the thing and, but for `$next`, behind the job."""
        topic = re.sub("^([^/]+/things/[^/]+)", rf"\1{self._mark}", topic)
        return re.sub("/jobs/([^$/]+)/(get|update|frob|namespace-)", rf"/jobs/\1{self._mark}/\2", topic)

    def _lines(self, messages: list[Arrived]) -> list[str]:
        """As a transcript shows them; what belongs to other cases is left out."""
        lines = []
        for message in messages:
            if self._mark in message.topic:
                body = self._with_plain_event_id(message.body)
                lines.append(f"{message.topic} {shown(body, self._start_s)}".replace(self._mark, ""))
        return lines

    def _with_plain_event_id(self, body: dict[str, Any]) -> dict[str, Any]:
        if "eventId" not in body:
            return body
        event_id = body["eventId"]
        assert event_id not in self._event_ids, "an event id was used twice (data plane 8)"
        self._event_ids.add(str(UUID(event_id)))
        return {**body, "eventId": "id"}
