"""The executions of a thing in the order of their creation, to begin a page anywhere at the same cost.

Most things have few: those are sorted when somebody asks. For who has many an order is kept, from the moment
they become many.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, Final

from thingjobs_broker.core.untracked import untracked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thingjobs_broker.core.entities import Execution, Thing
    from thingjobs_broker.core.paging import Place
    from thingjobs_broker.core.state import State

FEW_MAX: Final = 256
"""Jobs of a thing, and executions of one of them, up to which there is no order kept."""


def note(state: State, thing: Thing, execution: Execution) -> None:
    """Enter an execution that the thing has got, as the newest of its job."""
    history = state.orders.histories.get(thing.thing_name)
    if history is None:
        if len(thing.executions) <= FEW_MAX and execution.execution_number <= FEW_MAX:
            return
        history = untracked(sorted(of_thing(thing), key=_queue_position))
        state.orders.histories[thing.thing_name] = history
    elif history[-1].queue_position < execution.queue_position:
        history.append(execution)
    else:
        # Executions are restored job by job.
        insort(history, execution, key=_queue_position)


def forget(state: State, execution: Execution) -> None:
    """Take an execution out that is deleted."""
    history = state.orders.histories.get(execution.thing_name)
    if history is not None:
        del history[bisect_left(history, execution.queue_position, key=_queue_position)]
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
    ordered = state.orders.histories.get(thing.thing_name) if job_id is None else None
    if ordered is None:
        ordered = sorted(of_thing(thing, job_id), key=_queue_position)
    start = bisect_right(ordered, after, key=_queue_position)
    for at in range(start, len(ordered)):
        yield (ordered[at].queue_position,), ordered[at]


def _queue_position(execution: Execution) -> int:
    return execution.queue_position
