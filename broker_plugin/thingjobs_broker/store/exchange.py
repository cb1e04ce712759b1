"""A store as readable JSON lines, and back: all that a snapshot holds, fields by name.

    {"store": {"version": 4, "queue_position": 3, ...}}      first
    {"templates": {"template_id": "update", ...}}            one of each; so are tags and group_timeouts
    {"thing": {"index": 0, "thing_name": "press-7", ...}}    all of them before the first job
    {"job": {"index": 0, "job_id": "update", ...}}           before its executions
    {"turn": {"job_id": "update", "thing_name": "press-8", "turn": "owed", "number": 0}}
    {"execution": {"job_id": "update", "thing_name": "press-7", "status": "SUCCEEDED", ...}}
    {"end": {"lines": 4}}                                    last: it was not cut off

Times are milliseconds since the epoch, 0 for not yet. A field that is missing takes its default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgpack
import msgspec

from thingjobs_broker.store import rows
from thingjobs_broker.store.capture import Capture
from thingjobs_broker.store.errors import StoreError
from thingjobs_broker.store.restore import SnapshotUnreadable, restore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from thingjobs_broker.core.state import State

_NUMBERS: Final = {status.value: number for number, status in enumerate(rows.STATUSES)}
_TABLES: Final = {table.attribute: (kind, table.fields) for kind, table in rows.TABLES.items()}


class ImportRefused(StoreError):
    """What is imported is no export, or not a whole one."""


def export_lines(state: State) -> Iterator[bytes]:
    """Yield the lines, each ended."""
    count = 0
    for line in _exported(state):
        count += 1
        yield msgspec.json.encode(line) + b"\n"
    yield msgspec.json.encode({"end": {"lines": count}}) + b"\n"


def import_lines(lines: Iterable[bytes]) -> State:
    """Return the state that was exported; empty lines are passed over.

    Raises:
        ImportRefused: a line is not what it should be; the message names it.

    """
    try:
        return restore(_imported(lines))
    except SnapshotUnreadable as error:
        raise ImportRefused(f"the lines do not make a state: {error.__cause__!r}") from error


def _exported(state: State) -> Iterator[dict[str, Any]]:
    capture = Capture(state)
    while (objects := capture.next_slice()) is not None:
        for packed in objects:
            kind, *rest = msgpack.unpackb(packed, strict_map_key=False)
            if kind == rows.MARK:
                version, kept = rest
                yield {"store": {"version": version, **kept}}
            elif kind == rows.THINGS:
                for index, *row in rest[0]:
                    yield {"thing": {"index": index, **dict(zip(rows.THING_FIELDS, row, strict=True))}}
            elif kind == rows.JOB:
                yield {"job": dict(zip(rows.JOB_FIELDS, rest[0], strict=True))}
            elif kind in rows.TABLES:
                table = rows.TABLES[kind]
                for row in rest[0]:
                    yield {table.attribute: dict(zip(table.fields, row, strict=True))}
            else:
                yield from _of_job(state, kind, *rest)


def _of_job(state: State, kind: int, job_index: int, found: list[list[Any]]) -> Iterator[dict[str, Any]]:
    job = state.job_order[job_index]
    assert job is not None, job_index
    for row in found:
        if kind == rows.TURNS:
            yield {"turn": {"job_id": job.job_id, **dict(zip(rows.TURN_FIELDS, row, strict=True))}}
        else:
            yield {"execution": {"job_id": job.job_id, **_readable(row)}}


def _readable(row: list[Any]) -> dict[str, Any]:
    """Name the fields of an execution; what is packed in it is unpacked."""
    fields = dict(zip(rows.EXECUTION_FIELDS, row, strict=True))
    fields["status"] = rows.STATUSES[fields["status"]].value
    fields["details"] = msgpack.unpackb(fields["details"]) if fields["details"] else {}
    unpacker = msgpack.Unpacker()
    unpacker.feed(fields["timeline"])
    fields["timeline"] = list(unpacker)
    return fields


def _imported(lines: Iterable[bytes]) -> Iterator[rows.Row]:
    """Yield the objects of a snapshot."""
    job_indexes: dict[str, int] = {}
    count, expected = 0, None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            ((kind, fields),) = msgspec.json.decode(line, type=dict[str, dict[str, Any]]).items()
            if kind == "end":
                expected = fields["lines"]
                continue
            count += 1
            yield _object(kind, fields, job_indexes)
        except KeyError as error:
            raise ImportRefused(f"line {number}: {error.args[0]} is missing or unknown") from None
        except (ValueError, TypeError) as error:
            raise ImportRefused(f"line {number}: {error}") from None
    if expected != count:
        end = "no end" if expected is None else f"the end of {expected}"
        raise ImportRefused(f"found {end} after {count} lines; the export was cut off or joined")


def _object(kind: str, fields: dict[str, Any], job_indexes: dict[str, int]) -> rows.Row:
    if kind == "store":
        return rows.MARK, fields.pop("version"), fields
    if kind == "thing":
        return rows.THINGS, [_row(("index", *rows.THING_FIELDS), fields)]
    if kind == "job":
        row = _row(rows.JOB_FIELDS, fields)
        job_indexes[fields["job_id"]] = fields["index"]
        return rows.JOB, row
    if kind == "turn":
        job_index = job_indexes[fields.pop("job_id")]
        return rows.TURNS, job_index, [_row(rows.TURN_FIELDS, fields)]
    if kind == "execution":
        job_index = job_indexes[fields.pop("job_id")]
        fields["status"] = _NUMBERS[fields["status"]]
        fields["details"] = msgpack.packb(fields["details"]) if fields["details"] else b""
        fields["timeline"] = b"".join(msgpack.packb(entry) for entry in fields["timeline"])
        return rows.EXECUTIONS, job_index, [_row(rows.EXECUTION_FIELDS, fields)]
    if kind in _TABLES:
        number, names = _TABLES[kind]
        return number, [_row(names, fields)]
    raise ValueError(f"expected a store, thing, job or execution, found {kind[:40]!r}")


def _row(names: tuple[str, ...], fields: dict[str, Any]) -> list[Any]:
    """Return the fields by position; they end where the export of an older version ended."""
    unknown = fields.keys() - set(names)
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}; it was exported by a newer version")
    missing = [name for name in names if name not in fields]
    if missing and missing != list(names[len(fields) :]):
        raise ValueError(f"{missing[0]!r} is missing")
    return [fields[name] for name in names if name in fields]
