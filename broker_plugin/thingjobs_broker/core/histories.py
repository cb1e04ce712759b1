"""The executions of a thing in the order of their creation, to begin a page anywhere at the same cost.

Most things have few: those are sorted when somebody asks. For who has many an order is kept, from the moment
they become many.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from sortedcontainers import SortedDict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thingjobs_broker.core.entities import Execution, Thing
    from thingjobs_broker.core.paging import Place
    from thingjobs_broker.core.state import State

FEW_MAX: Final = 256
"""Jobs of a thing, and executions of one of them, up to which there is no order kept."""


def note(state: State, thing: Thing, execution: Execution) -> None:
    """Enter an execution that the thing has got."""
    history = state.orders.histories.get(thing.thing_name)
    if history is None:
        if len(thing.executions) <= FEW_MAX and execution.execution_number <= FEW_MAX:
            return
        history = SortedDict((one.queue_position, one) for one in of_thing(thing))
        state.orders.histories[thing.thing_name] = history
    history[execution.queue_position] = execution


def forget(state: State, execution: Execution) -> None:
    """Take an execution out that is deleted."""
    history = state.orders.histories.get(execution.thing_name)
    if history is not None:
        del history[execution.queue_position]
        if not history:
            del state.orders.histories[execution.thing_name]


def of_thing(thing: Thing, job_id: str | None = None) -> Iterator[Execution]:
    """Yield the executions of a thing, of one job or of all, in no order."""
    newest_ones = thing.executions.values() if job_id is None else (thing.executions.get(job_id),)
    for newest in newest_ones:
        current: Execution | None = newest
        while current is not None:
            yield current
            current = current.previous


def behind(state: State, thing: Thing, job_id: str | None, place: Place) -> Iterator[tuple[Place, Execution]]:
    """Yield the executions of a thing behind a place, in the order of their creation."""
    after = place[0] if place else -1
    history = state.orders.histories.get(thing.thing_name) if job_id is None else None
    if history is not None:
        yield from (((at,), history[at]) for at in history.irange(after, inclusive=(False, True)))
        return
    ordered = sorted(of_thing(thing, job_id), key=_queue_position)
    start = bisect_right(ordered, after, key=_queue_position)
    yield from (((one.queue_position,), one) for one in ordered[start:])


def _queue_position(execution: Execution) -> int:
    return execution.queue_position
