"""What queries see of a thing, and whether they see anything (spec: control plane 1.9, "Fields")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from thingjobs_broker.core import groups, query
from thingjobs_broker.core.errors import InvalidQueryError, InvalidRequestError
from thingjobs_broker.core.query_match import Indexed

if TYPE_CHECKING:
    from thingjobs_broker.core.entities import Thing
    from thingjobs_broker.core.state import State
    from thingjobs_broker.core.step import Step

INDEX_NAME: Final = "AWS_Things"
GROUP_INDEX_NAME: Final = "AWS_ThingGroups"
"""The other index of AWS, which is not here: control plane 1.9 has no fields of groups for its queries."""
QUERY_VERSION: Final = "2017-09-30"
THINGS: Final = "thingIndexingConfiguration"
GROUPS: Final = "thingGroupIndexingConfiguration"
MODE: Final = "thingIndexingMode"
CONNECTIVITY: Final = "thingConnectivityIndexingMode"
CONNECTIVITY_FIELDS: Final = frozenset(
    {"connectivity.connected", "connectivity.timestamp", "connectivity.disconnectReason"}
)


def is_on(state: State) -> bool:
    """Tell whether things can be searched."""
    return bool(state.indexing[THINGS][MODE] != "OFF")


def sees_connections(state: State) -> bool:
    """Tell whether queries see who is connected."""
    return is_on(state) and state.indexing[THINGS].get(CONNECTIVITY) == "STATUS"


def parsed(text: str, terms_max: int) -> query.Query:
    """Return the query that `text` says.

    Raises:
        InvalidQueryError: it says none.
        InvalidRequestError: it is blank.

    """
    try:
        return query.parse(text, terms_max)
    except query.QueryError as error:
        kind = InvalidQueryError if error.code == InvalidQueryError.code else InvalidRequestError
        raise kind(error.message) from None


def indexed(step: Step, thing: Thing) -> Indexed:
    """Return the data of a thing that queries look at."""
    state = step.state
    return Indexed(
        thing.thing_name,
        thing.thing_id,
        thing.thing_type_name,
        [group.group_name for group in groups.of_thing(state, thing)] if thing.groups else (),
        thing.attributes,
        _connectivity(step, thing) if sees_connections(state) else {},
    )


def _connectivity(step: Step, thing: Thing) -> dict[str, Any]:
    """Return what is known of a thing's connection; beside a broker that does not tell, nothing."""
    presence = step.ports.presences.of(thing.thing_name)
    found = {"connected": presence.is_connected, "timestamp": presence.since_ms}
    return {name: value for name, value in found.items() if value is not None}
