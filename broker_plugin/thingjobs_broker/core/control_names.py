"""Our own operation ListNames: what a name that somebody has begun to type may become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.core import groups
from thingjobs_broker.core.lookups import with_token
from thingjobs_broker.core.paging import page

if TYPE_CHECKING:
    from thingjobs_broker.core import operations_indexing
    from thingjobs_broker.core.state import State
    from thingjobs_broker.core.step import Step

LOOKS_MAX: Final = 20_000
"""Names that one page looks at ("Bounded work per step"): a few milliseconds."""

KINDS: Final[dict[str, tuple[Callable[[State], Sequence[Any]], Callable[[Any], str]]]] = {
    "thing": (lambda state: state.thing_order, lambda thing: thing.thing_name),
    "group": (lambda state: list(filter(groups.is_alive, state.groups.values())), lambda one: one.group_name),
    "type": (lambda state: list(state.thing_types), str),
    "job": (lambda state: state.job_order, lambda job: job.job_id),
    "template": (lambda state: list(state.templates), str),
}
"""Where the entries are, and what an entry is called."""


def list_names(step: Step, request: operations_indexing.ListNames, _by: str) -> dict[str, Any]:
    """List the names of one kind that begin so."""
    entries, name_of = KINDS[request.kind]
    found, next_token = page(
        entries(step.state),
        next_token=request.next_token,
        max_results=request.max_results,
        filters=(request.kind, request.prefix),
        keep=lambda entry: name_of(entry).startswith(request.prefix),
        looks_max=LOOKS_MAX,
    )
    return with_token({"names": list(map(name_of, found))}, next_token)
