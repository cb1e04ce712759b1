"""From the disk to the state: the journal's records, in order. Damage is the journal's to refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thingjobs_broker.core.state import State
from thingjobs_broker.store.record_codec import unpack

if TYPE_CHECKING:
    from thingjobs_broker.store.journal import Journal


def recover(journal: Journal) -> State:
    """Return the state that the journal's records lead to.

    Raises:
        JournalCorrupt: a record in the middle is damaged.
        RecordUnreadable: a record was written by a newer version.

    """
    state = State()
    for _, entry in journal.replay():
        for record in unpack(entry):
            state.apply(record)
    return state
