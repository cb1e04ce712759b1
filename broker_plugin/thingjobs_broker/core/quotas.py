"""How much of everything there may be: one table of the limits that a deployment may move, and their refusal
(spec: control plane 10). A limit of the form of a member is in the types of the requests instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from thingjobs_broker.core.errors import InvalidRequestError, LimitExceededError

if TYPE_CHECKING:
    from thingjobs_broker.core.errors import ControlError


class Quotas(msgspec.Struct, frozen=True):
    """Each is a setting of the same name in the table `quotas`. The defaults are those of AWS."""

    active_jobs_max: int = 100_000
    concurrent_jobs_max: int = 500
    deletions_max: int = 10
    targets_max: int = 100
    templates_max: int = 100
    retries_max: int = 10
    tags_max: int = 50
    attributes_without_type_max: int = 3
    attributes_with_type_max: int = 50
    attributes_bytes_max: int = 47 * 1024
    searchable_attributes_max: int = 3
    groups_per_thing_max: int = 10
    group_depth_max: int = 7
    group_children_max: int = 100
    group_attributes_max: int = 50
    dynamic_groups_max: int = 100
    dynamic_group_terms_max: int = 5
    search_terms_max: int = 12
    calls_per_second: int = 0
    searches_per_second: int = 0
    indexing_updates_per_second: int = 0
    """0 for no limit; AWS has 10 of each operation, 15 and 1."""


Name = Literal[
    "active_jobs_max",
    "concurrent_jobs_max",
    "deletions_max",
    "targets_max",
    "templates_max",
    "retries_max",
    "tags_max",
    "attributes_without_type_max",
    "attributes_with_type_max",
    "attributes_bytes_max",
    "searchable_attributes_max",
    "groups_per_thing_max",
    "group_depth_max",
    "group_children_max",
    "group_attributes_max",
    "dynamic_groups_max",
]

INVALID: Final[frozenset[Name]] = frozenset(
    {
        *("retries_max", "attributes_without_type_max", "attributes_with_type_max", "attributes_bytes_max"),
        *("searchable_attributes_max", "groups_per_thing_max", "group_depth_max", "group_children_max"),
        "group_attributes_max",
    }
)
"""Those whose operations list no LimitExceeded (spec: control plane 1.2, 1.8); they answer InvalidRequest."""


def check(quotas: Quotas, name: Name, count: int, what: str, hint: str = "") -> None:
    """Check that `what` may be so many.

    Raises:
        LimitExceededError: it may not; the message names the setting.
        InvalidRequestError: the same, where AWS answers so.

    """
    limit: int = getattr(quotas, name)
    if count > limit:
        kind: type[ControlError] = InvalidRequestError if name in INVALID else LimitExceededError
        message = f"{what}: {count}; expected at most {limit}{hint} (setting quotas.{name})"
        raise kind(message)


def check_concurrent(quotas: Quotas, count: int) -> None:
    """Check that so many jobs may be at work (spec: control plane 2.4).

    Raises:
        LimitExceededError: they are too many.

    """
    check(quotas, "concurrent_jobs_max", count, "Jobs being rolled out or canceled", "; wait for one")
