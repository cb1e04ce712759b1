"""Applies the record that everything was forgotten, for a suite's next test (spec: control plane 11.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from thingjobs_broker.core.records import StateCleared
    from thingjobs_broker.core.state import State

_KEPT: Final = ("before_apply", "last_start")
"""Who watches, and what the clock goes by."""


def state_cleared(state: State, record: StateCleared) -> None:
    """Begin anew."""
    fresh = vars(type(state)())
    vars(state).update({name: value for name, value in fresh.items() if name not in _KEPT})
    state.last_at_ms = record.at_ms
