"""Golden stores: what each version of the format wrote is read for ever, and leads to the state it led to
then.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.broker.core.world import check_consistency, picture
from tests.broker.store.golden_store import GOLDEN
from thingjobs_broker.store.exchange import export_lines, import_lines
from thingjobs_broker.store.files import OsFiles
from thingjobs_broker.store.journal import Journal
from thingjobs_broker.store.snapshot import positions
from thingjobs_broker.store.store import JOURNAL, SNAPSHOTS, Store

VERSIONS = sorted(path.name for path in GOLDEN.iterdir())


def test_the_first_version_is_kept() -> None:
    """Whoever removes it breaks somebody's upgrade."""
    assert "v1" in VERSIONS


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
    found = [json.loads(line) for line in export_lines(state)]
    assert len(found) == len(lines)
    for line, now in zip(map(json.loads, lines), found, strict=True):
        ((kind, fields),) = line.items()
        assert {name: now[kind].get(name, "missing") for name in fields} == fields
    assert picture(import_lines(lines)) == picture(state)
