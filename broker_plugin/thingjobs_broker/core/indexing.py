"""What queries see of a thing (spec: control plane 1.9, "Fields")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thingjobs_broker.core import groups
from thingjobs_broker.core.query_match import Indexed

if TYPE_CHECKING:
    from thingjobs_broker.core.entities import Thing
    from thingjobs_broker.core.state import State


def indexed(state: State, thing: Thing) -> Indexed:
    """Return the data of a thing that queries look at."""
    return Indexed(
        thing.thing_name,
        thing.thing_id,
        thing.thing_type_name,
        [group.group_name for group in groups.of_thing(state, thing)] if thing.groups else (),
        thing.attributes,
    )
