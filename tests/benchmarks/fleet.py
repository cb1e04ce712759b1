"""A fleet for the benchmarks of the store: a state as years of use leave it, and updates that change it
further.

Nine executions in ten have ended; of the others half are running, with a timer. Names, details and times are
as long as real ones.
"""

import random
import uuid
from collections.abc import Iterator

from thingjobs_broker.core import records
from thingjobs_broker.core.state import State
from thingjobs_broker.store.record_codec import pack, unpack
from thingjobs_protocol.status import JobExecutionStatus as Status

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
JOB_EXECUTIONS_MAX = 5_000
DOCUMENT = (
    '{"version":"1.0","steps":[{"action":{"name":"Install","type":"runHandler","input":{"handler":"i.sh"}}}]}'
)


def filled_state(executions: int, per_thing: int) -> State:
    """A state of so many executions, `per_thing` for each thing."""
    state, chance = State(), random.Random(executions)
    names = [f"gateway-{number:07d}" for number in range(executions // per_thing)]
    for number, name in enumerate(names):
        thing_id = str(uuid.UUID(int=number * 7919 << 32))
        _apply(state, records.ThingCreated(name, thing_id, START_MS + number, "auto_register"))
    position = 0
    for round_ in range(per_thing):
        for start in range(0, len(names), JOB_EXECUTIONS_MAX):
            at_ms = START_MS + round_ * 24 * HOUR_MS + start
            job_id = f"update-{round_:04d}-{start // JOB_EXECUTIONS_MAX:04d}"
            job = records.JobCreated(job_id, at_ms, "ada", ["arn"], "SNAPSHOT", DOCUMENT, "", {})
            _apply(state, job)
            targets = names[start : start + JOB_EXECUTIONS_MAX]
            for name in targets:
                position += 1
                _apply(state, records.ExecutionQueued(name, job_id, 1, position, at_ms))
            for number, name in enumerate(targets, position):
                _live(state, name, job_id, at_ms + number, steps=chance.choices((0, 1, 2), (5, 5, 90))[0])
    return state


def _live(state: State, name: str, job_id: str, at_ms: int, *, steps: int) -> None:
    """Lets an execution stay QUEUED, begin, or end as well."""
    if not steps:
        return
    details = {"step": "download", "progress": "12 %"}
    deadline_ms = at_ms + HOUR_MS * 24 * 365 * 10
    _apply(
        state,
        records.ExecutionChanged(
            *(name, job_id, 1, Status.IN_PROGRESS, 2, at_ms, "device", details),
            in_progress_deadline_ms=deadline_ms,
        ),
    )
    if steps > 1:
        details = {"step": "done", "result": "installed version 1.2.3", "handler": "install.sh"}
        ended = (name, job_id, 1, Status.SUCCEEDED, 3, at_ms + 90_000, "device", details)
        _apply(state, records.ExecutionChanged(*ended))


def tail_of_updates(state: State, size_bytes: int) -> Iterator[list[bytes]]:
    """Batches of a hundred entries each, until they have the size; they fit the state, which is not
    changed.
    """
    running = [
        execution
        for thing in state.things.values()
        for execution in thing.pending.values()
        if execution.status is Status.IN_PROGRESS
    ]
    details = {"step": "install", "progress": "42 %"}
    at_ms = state.last_at_ms
    versions = {id(execution): execution.version_number for execution in running}
    batch: list[bytes] = []
    while size_bytes > 0:
        for execution in running:
            at_ms += 1
            versions[id(execution)] += 1
            change = records.ExecutionChanged(
                thing_name=execution.thing_name,
                job_id=execution.job_id,
                execution_number=execution.execution_number,
                status=Status.IN_PROGRESS,
                version_number=versions[id(execution)],
                at_ms=at_ms,
                by="device",
                status_details=details,
                in_progress_deadline_ms=execution.in_progress_deadline_ms,
            )
            batch.append(pack([change]))
            size_bytes -= len(batch[-1])
            if len(batch) == 100:
                yield batch
                batch = []
            if size_bytes <= 0:
                break
    yield batch


def _apply(state: State, record: records.Record) -> None:
    """As a replay does it: with values of its own."""
    for one in unpack(pack([record])):
        state.apply(one)
