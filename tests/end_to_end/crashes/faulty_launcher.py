"""`launcher` with a fault in the service, named by SERVICE_FAULT: the crash tests must find each."""

import os
import time
from collections.abc import Sequence
from typing import Any

from tests.end_to_end.crashes.launcher import main
from thingjobs_broker.commits import Commits, Waiting
from thingjobs_broker.core.outcome import Outcome
from thingjobs_broker.store.files import OsFile, OsFiles
from thingjobs_broker.store.store import Store

LATE_SECONDS = 0.02
"""A fault of order would else show in one crash of a thousand."""


def told_before_it_is_written() -> None:
    """The messages of an outcome leave at once."""
    add = Commits.add

    def at_once(self: Commits, outcome: Outcome, *others: Any) -> None:
        self.publish([Waiting(outcome, None, 0, None)])
        add(self, Outcome(outcome.records, []), *others)

    Commits.add = at_once  # type: ignore[method-assign, assignment]
    _write_late()


def acknowledged_before_it_is_written() -> None:
    """Only the PUBACK leaves at once."""
    add = Commits.add

    def at_once(self: Commits, outcome: Outcome, *others: Any) -> None:
        if others and others[0] is not None:
            others[0]()
            self._publisher.flush()
        add(self, outcome, None, *others[1:])

    Commits.add = at_once  # type: ignore[method-assign, assignment]
    _write_late()


def content_is_not_synced() -> None:
    """What is written stays in the page cache."""
    OsFile.sync = OsFile.sync_data = lambda _: None  # type: ignore[method-assign, assignment]


def names_are_not_synced() -> None:
    """New and renamed files have no name that survives."""
    OsFiles.sync_directory = lambda *_: None  # type: ignore[method-assign]


def _write_late() -> None:
    append = Store.append

    def late(self: Store, entries: Sequence[bytes]) -> bool:
        time.sleep(LATE_SECONDS)
        return append(self, entries)

    Store.append = late  # type: ignore[method-assign]


FAULTS = {
    fault.__name__: fault
    for fault in (
        told_before_it_is_written,
        acknowledged_before_it_is_written,
        content_is_not_synced,
        names_are_not_synced,
    )
}

if __name__ == "__main__":
    FAULTS[os.environ["SERVICE_FAULT"]]()
    main()
