"""Records to bytes and back: one journal entry holds the records of one outcome, so they survive together or
not at all.

Layout: a msgpack array of `[kind, field, field, ...]`. Fields go by position; missing ones at the end take
their defaults.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack
import msgspec

from thingjobs_broker.core.records import KINDS, ExecutionChanged, JobChanged, Record
from thingjobs_broker.store.errors import StoreError
from thingjobs_protocol.status import JobExecutionStatus, JobStatus

_KIND_NUMBERS: Final = {kind: number for number, kind in enumerate(KINDS)}
_STATUS_FIELD: Final[dict[int, tuple[int, Any]]] = {
    _KIND_NUMBERS[kind]: (kind.__struct_fields__.index("status"), status)
    for kind, status in ((ExecutionChanged, JobExecutionStatus), (JobChanged, JobStatus))
}
_astuple = msgspec.structs.astuple


class RecordUnreadable(StoreError):
    """An entry passed its checksum but is none that this version knows: written by a newer version."""


def pack(records: list[Record]) -> bytes:
    """Return the journal entry of an outcome's records."""
    entry: bytes = msgpack.packb([(_KIND_NUMBERS[type(record)], *_astuple(record)) for record in records])
    return entry


def unpack(entry: bytes) -> list[Record]:
    """Return the records of a journal entry.

    Raises:
        RecordUnreadable: a kind, field or status that this version does not know.

    """
    try:
        return [_record(fields) for fields in msgpack.unpackb(entry)]
    except (ValueError, IndexError, TypeError) as error:
        message = f"A journal entry is not readable by this version: {error}; run the version that wrote it"
        raise RecordUnreadable(message) from error


def _record(fields: list[Any]) -> Record:
    number = fields[0]
    if not isinstance(number, int) or not 0 <= number < len(KINDS):
        message = f"record kind {number!r} is unknown"
        raise ValueError(message)
    del fields[0]
    conversion = _STATUS_FIELD.get(number)
    if conversion:
        index, status = conversion
        fields[index] = status(fields[index])
    return KINDS[number](*fields)
