"""Our own operation ListNames: what a name that somebody has begun to type may become."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.core import control_thing_types, groups
from thingjobs_broker.core.lookups import with_token
from thingjobs_broker.core.paging import Place, page, page_in_order
from thingjobs_broker.core.state import State

if TYPE_CHECKING:
    from thingjobs_broker.core import operations_indexing
    from thingjobs_broker.core.step import Step

LOOKS_MAX: Final = 20_000
"""Names that one page looks at ("Bounded work per step"): a few milliseconds."""

LISTS: Final[dict[str, tuple[Callable[[State], Sequence[Any]], Callable[[Any], str]]]] = {
    "thing": (lambda state: state.thing_order, lambda thing: thing.thing_name),
    "job": (lambda state: state.job_order, lambda job: job.job_id),
    "template": (lambda state: state.template_order, lambda template: template.template_id),
}
ORDERS: Final[
    dict[str, tuple[Callable[[State, Place], Iterator[tuple[Place, Any]]], Callable[[Any], str]]]
] = {
    "group": (groups.created_behind, lambda group: group.group_name),
    "type": (control_thing_types.behind, lambda found: found.thing_type_name),
}
"""Where the entries are, and what an entry is called."""


def list_names(step: Step, request: operations_indexing.ListNames, _by: str) -> dict[str, Any]:
    """List the names of one kind that begin so."""
    pages: dict[str, Any] = {
        "next_token": request.next_token,
        "max_results": request.max_results,
        "filters": (request.kind, request.prefix),
        "looks_max": LOOKS_MAX,
    }
    if request.kind in LISTS:
        entries, name_of = LISTS[request.kind]
        found, next_token = page(
            entries(step.state), keep=lambda entry: name_of(entry).startswith(request.prefix), **pages
        )
    else:
        behind, name_of = ORDERS[request.kind]
        found, next_token = page_in_order(
            partial(behind, step.state), keep=lambda entry: name_of(entry).startswith(request.prefix), **pages
        )
    return with_token({"names": list(map(name_of, found))}, next_token)
