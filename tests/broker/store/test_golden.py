"""Golden stores: what each version of the format wrote is read for ever, and leads to the state it led to
then.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.broker.core.world import check_consistency, picture
from tests.broker.store.golden_store import GOLDEN
from thingjobs_broker.core.state import State
from thingjobs_broker.store import rows
from thingjobs_broker.store.exchange import export_lines, import_lines
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.journal import Journal
from thingjobs_broker.store.snapshot import positions
from thingjobs_broker.store.store import JOURNAL, SNAPSHOTS, Store

KINDS = ["store", *(table.attribute for table in rows.TABLES.values()), "thing", "job", "execution"]
VERSIONS = sorted(path.name for path in GOLDEN.iterdir())


def test_a_store_of_each_version_is_kept() -> None:
    """Whoever removes one breaks somebody's upgrade; whoever makes a new version keeps a store of it."""
    assert [f"v{version}" for version in rows.VERSIONS_READ] == VERSIONS
    assert max(rows.VERSIONS_READ) == rows.VERSION


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("with_snapshot", [True, False])
def test_a_golden_store_leads_to_its_state(version: str, with_snapshot: bool, tmp_path: Path) -> None:
    """Item 2: from its snapshot and the journal after it, and from the journal alone. Later fields may be
    added.
    """
    data_dir = tmp_path / "data"
    shutil.copytree(GOLDEN / version / "data", data_dir)
    files = OsFiles()
    (snapshot,) = positions(files, data_dir / SNAPSHOTS)
    assert 0 < snapshot < Journal.read_only(files, data_dir / JOURNAL).last_position
    if not with_snapshot:
        shutil.rmtree(data_dir / SNAPSHOTS)
    store = Store(files, data_dir)
    state = store.load()
    store.close()
    check_consistency(state)
    lines = (GOLDEN / version / "expected.jsonl").read_bytes().splitlines()
    expected = with_turns([json.loads(line) for line in lines])
    found = with_turns([json.loads(line) for line in export_lines(state)])
    check_tables_of_version_1(expected[0]["store"], state)
    for kind in KINDS:
        of_kind, now = ([line[kind] for line in many if kind in line] for many in (expected, found))
        assert kind not in ("store", "thing", "job", "execution") or len(of_kind) == len(now) > 0
        for fields, fields_now in zip(of_kind, now, strict=True) if of_kind else ():
            assert {name: fields_now.get(name, "missing") for name in fields} == fields
    assert picture(import_lines(lines)) == picture(state)


def with_turns(lines: list[Any]) -> list[Any]:
    """They stood in the line of their job before version 4; put them there."""
    jobs = {line["job"]["job_id"]: line["job"] for line in lines if "job" in line}
    for turn in (line["turn"] for line in lines if "turn" in line):
        job, name = jobs[turn["job_id"]], turn["thing_name"]
        if turn["turn"] == rows.BARRED:
            job["barred"] = sorted([*job["barred"], name])
        else:
            job[{rows.OWED: "owed", rows.USED: "numbers_used"}[turn["turn"]]][name] = turn["number"]
    return lines


def check_tables_of_version_1(store: dict[str, Any], state: State) -> None:
    """They stood in the first line; now each entry has a line of its own."""
    if store.pop("version") == 1:
        templates = [list(msgspec.structs.astuple(template)) for template in state.templates.values()]
        assert store.pop("templates") == templates != []
        assert store.pop("tags") == state.tags != {}
        assert store.pop("group_timeouts") == {name: [*of] for name, of in state.group_timeouts.items()} != {}
