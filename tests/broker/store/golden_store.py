"""Makes a golden store, once for each version of the format.

    python -m tests.broker.store.golden_store v1

What is in `golden/` is never made again: it is what that version wrote, and is read for ever.
"""

import sys
from pathlib import Path

from thingjobs_broker.core import records
from thingjobs_broker.core.records import KINDS, Record
from thingjobs_broker.core.state import State
from thingjobs_broker.store.exchange import export_lines
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.record_codec import pack
from thingjobs_broker.store.store import JOURNAL, Store
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.status import JobStatus

GOLDEN = Path(__file__).parent / "golden"
T = 1_700_000_000_000
ARN = "arn:aws:iot:local:000000000000:thing"

BEFORE_THE_SNAPSHOT: list[Record] = [
    records.StateCleared(T),
    records.ServiceStarted(T, "boot-1", 1_000),
    records.ThingCreated("press-7", "id-1", T + 1, "operator", {"site": "berlin", "floor": "2"}),
    records.ThingCreated("press-8", "id-2", T + 2, "auto_register"),
    *(
        records.JobCreated(f"J{n}", T + 3, "ada", [f"{ARN}/press-7"], "SNAPSHOT", '{"n": 1}', "text", {})
        for n in (1, 2)
    ),
    records.ExecutionQueued("press-7", "J1", 1, 1, T + 4),
    records.ExecutionQueued("press-8", "J1", 1, 2, T + 4),
    records.ExecutionQueued("press-7", "J2", 1, 3, T + 5),
    records.ExecutionChanged(
        *(
            "press-7",
            "J1",
            1,
            Status.IN_PROGRESS,
            2,
            T + 6,
            "device",
            {"step": "one"},
            T + 60_000,
            T + 30_000,
        ),
        timeout_minutes=1,
    ),
    records.ExecutionChanged("press-7", "J1", 1, Status.FAILED, 3, T + 7, "device", {"reason": "disk"}),
    records.ExecutionQueued("press-7", "J1", 2, 4, T + 7, retry_attempt=1),
    records.ExecutionChanged("press-8", "J1", 1, Status.CANCELED, 2, T + 8, "ada", None, cause="forced"),
    records.JobChanged("J2", JobStatus.CANCELED, T + 9, "ada", reason_code="STOP", comment="enough"),
    records.ExecutionChanged("press-7", "J2", 1, Status.CANCELED, 2, T + 10, "service"),
    records.JobChanged("J2", JobStatus.CANCELED, T + 11, "service", settled=True),
    records.ThingCreated("gone", "id-0", T + 12, "ada"),
    records.ExecutionQueued("gone", "J1", 1, 5, T + 12),
    records.ExecutionChanged("gone", "J1", 1, Status.REMOVED, 1, T + 12, "service"),
    records.TemplateCreated("update", T + 12, "ada", "a template", '{"t": 1}', "", {"timeoutConfig": {}}),
    records.TemplateCreated("gone", T + 12, "ada", "", "{}", "", {}),
    records.TemplateDeleted("gone", T + 13, "ada"),
    records.TagsChanged("arn:aws:iot:local:000000000000:job/J1", T + 14, {"team": "presses"}),
    records.GroupTimeoutsChanged("presses", T + 15, "ada", 30, 60),
    records.IndexingConfigured(
        *(T + 16, "ada"),
        {
            "thingIndexingConfiguration": {"thingIndexingMode": "REGISTRY"},
            "thingGroupIndexingConfiguration": {"thingGroupIndexingMode": "OFF"},
        },
    ),
    records.ThingTypeCreated("press", "type-1", T + 16, "ada", {"thingTypeDescription": "presses"}),
    records.ThingTypeCreated("gone", "type-2", T + 16, "ada", {}),
    records.ThingTypeChanged("gone", T + 16, "ada", {}, T + 16),
    records.ThingTypeDeleted("gone", T + 17, "ada"),
    records.GroupCreated("site", "group-1", T + 17, "ada", "", "a site", {"city": "berlin"}),
    records.GroupCreated("presses", "group-2", T + 17, "ada", "group-1", "", {}),
    records.GroupCreated("old", "group-3", T + 17, "ada", "group-1", "", {}),
    records.GroupCreated("berlin", "group-4", T + 17, "ada", "", "", {}, "attributes.site:berlin"),
    records.ThingGroupsChanged("press-7", T + 18, "service", ["group-4"], []),
    records.GroupSwept("group-4", T + 18, 2, is_done=True),
    records.ThingGroupsChanged("press-8", T + 18, "ada", ["group-3"], []),
    records.GroupDeleted("group-3", T + 19, "ada"),
]
AFTER_IT: list[Record] = [
    records.ExecutionChanged(
        *("press-7", "J1", 2, Status.IN_PROGRESS, 2, T + 20, "device", {"step": "two"}, 0, T + 90_000)
    ),
    records.ClockStepped(T + 21, 3_600_000),
    records.ExecutionDeleted("press-7", "J2", 1, T + 3_600_022, "service"),
    records.JobDeleted("J2", T + 3_600_023, "service"),
    records.JobCreated(
        *("J3", T + 3_600_024, "ada", ["arn:aws:iot:local:000000000000:thinggroup/presses"], "CONTINUOUS"),
        *('{"n": 3}', "", {"jobExecutionsRolloutConfig": {"maximumPerMinute": 10}}, "SCHEDULED", False),
    ),
    records.JobChanged("J3", JobStatus.IN_PROGRESS, T + 3_600_025, "service", turns=True),
    records.JobTurned("J3", T + 3_600_026),
    records.RolloutAdvanced("J3", T + 3_600_027, 0, "press-7", 1, T + 3_600_025, T + 3_600_025, 9, False),
    records.ExecutionQueued("press-7", "J3", 1, 6, T + 3_600_027),
    records.TurnChanged("J3", "press-8", T + 3_600_028, "owed", 2),
    records.JobUpdated("J1", T + 3_600_029, "ada", "another text", {"timeoutConfig": {"a": 1}}),
    records.ThingCreated("press-9", "id-3", T + 3_600_030, "auto_register"),
    records.ThingGroupsChanged("press-8", T + 3_600_030, "service", ["group-2"], ["group-3"]),
    records.GroupSwept("group-3", T + 3_600_030, 0, is_done=True),
    records.ThingUpdated("press-9", T + 3_600_030, "ada", {"a": "b"}, "press", 2),
    records.GroupChanged("group-1", T + 3_600_030, "ada", "the site", {}, 2),
    records.EventsConfigured(T + 3_600_030, "ada", {"JOB": False}),
    records.ThingDeleted("gone", T + 3_600_030, "ada"),
    records.ServiceStarted(T + 3_600_031, "boot-2", 2_000),
]


def make(folder: Path) -> None:
    """Make the store in `folder`/data, and beside it `expected.jsonl`: the state that comes of it."""
    written = {type(record) for record in [*BEFORE_THE_SNAPSHOT, *AFTER_IT]}
    assert written == set(KINDS), set(KINDS) - written
    data_dir = folder / "data"
    data_dir.mkdir(parents=True)
    state = State()
    store = Store(OsFiles(), data_dir)
    _append(store, state, BEFORE_THE_SNAPSHOT)
    store.write_snapshot(state)
    _append(store, state, AFTER_IT)
    store.close()
    assert (data_dir / JOURNAL).exists()
    (folder / "expected.jsonl").write_bytes(b"".join(export_lines(state)))


def _append(store: Store, state: State, found: list[Record]) -> None:
    for record in found:
        state.apply(record)
        store.append([pack([record])])


if __name__ == "__main__":
    make(GOLDEN / sys.argv[1])
