"""Which defaults and maxima of timeouts hold for a job: its groups' and the service's (control plane B3-B5).

What they come to is decided in `timeouts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.core import timeouts
from thingjobs_broker.core.naming import group_of
from thingjobs_broker.core.records import GroupTimeoutsChanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from thingjobs_broker.core.entities import Job
    from thingjobs_broker.core.step import Step

MEMBER = "inProgressTimeoutInMinutes"


def effective(
    step: Step,
    target_arns: Iterable[str],
    given: Mapping[str, Any] | None,
    of_template: Mapping[str, Any] | None = None,
) -> dict[str, int] | None:
    """Return the timeoutConfig of a job, None without one; what is given comes back if nothing else holds."""
    limits = [(name, *step.state.group_timeouts.get(name, (0, 0))) for name in _groups(target_arns)]
    rules = step.ports.rules
    chosen = timeouts.effective(
        [
            ("the job", (given or {}).get(MEMBER)),
            ("the template", (of_template or {}).get(MEMBER)),
            *((f"group {name}", default or None) for name, default, _ in limits),
            ("the service", rules.timeout_minutes_default),
        ],
        maxima(step, target_arns),
    )
    if chosen.minutes is None:
        return dict(given) if given is not None else None
    return {MEMBER: chosen.minutes}


def maxima(step: Step, target_arns: Iterable[str]) -> list[tuple[str, int | None]]:
    """Return the maxima that bind a job with these targets, each with its name (B24)."""
    of_groups = [
        (f"group {name}", step.state.group_timeouts.get(name, (0, 0))[1] or None)
        for name in _groups(target_arns)
    ]
    return [*step.ports.rules.timeout_minutes_maxima, *of_groups]


def maxima_of(step: Step, job: Job) -> list[tuple[str, int | None]]:
    """Return the maxima that bind a change of a running execution (B13)."""
    return maxima(step, job.targets)


def forget_group(step: Step, group_name: str, by: str) -> None:
    """A group is deleted, and its timeouts with it."""
    if group_name in step.state.group_timeouts:
        step.apply(GroupTimeoutsChanged(group_name, step.now_ms, by))


def _groups(target_arns: Iterable[str]) -> list[str]:
    return [name for name in map(group_of, target_arns) if name is not None]
