"""Carries out rollouts: gives things their executions, window by window (spec: control plane 3).

How many a window may create is decided in `rollout`, whose turn it is in `targets`.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from thingjobs_broker.core import lifecycle, rollout, targets
from thingjobs_broker.core.records import RolloutAdvanced
from thingjobs_protocol.status import TargetSelection

if TYPE_CHECKING:
    from thingjobs_broker.core.entities import Job, Rollout, Thing
    from thingjobs_broker.core.step import Step

ROLLOUT_SLICE: Final = 250
"""Executions created in one step, so that none holds the event loop for long ("Bounded work")."""

LOOKS_MAX: Final = 2000
"""Things looked at in one step; most of those that are passed over cost little."""

UNLIMITED: Final = -1


def config_of(job: Job) -> rollout.RolloutConfig | None:
    """Return the job's rollout configuration, None without one."""
    given = job.options.get("jobExecutionsRolloutConfig")
    return msgspec.convert(given, rollout.RolloutConfig) if given else None


def advance(step: Step, job: Job) -> int | None:
    """Create one slice of executions; return when the next one is due: 0 at once, None when all are."""
    current = job.rollout
    if current is None:
        return None
    started_at_ms = current.started_at_ms or step.now_ms
    window_at_ms = rollout.window_start_ms(started_at_ms, step.now_ms)
    left = current.left if window_at_ms == current.window_at_ms else _allowed(step, job, current)
    if _knows_no_rate(current, current.target_index):
        left = UNLIMITED
    count_max = ROLLOUT_SLICE if left == UNLIMITED else min(left, ROLLOUT_SLICE)
    found = targets.next_things(step, job, current, count_max, LOOKS_MAX)
    things = found.things
    is_done = found.is_end
    if found.is_end and job.target_selection is TargetSelection.SNAPSHOT:
        stragglers = _stragglers(step, job, count_max - len(things))
        things += stragglers
        is_done = len(stragglers) == len(job.owed)
    for thing in things:
        lifecycle.queue_execution(step, thing, job)
    left = left if left == UNLIMITED else left - len(things)
    step.apply(
        RolloutAdvanced(
            job.job_id,
            step.now_ms,
            found.target_index,
            found.after,
            current.notified + len(things),
            started_at_ms,
            window_at_ms,
            left,
            is_done,
        )
    )
    if is_done:
        lifecycle.settle(step, job)
        return None
    return 0 if left or _knows_no_rate(current, found.target_index) else window_at_ms + rollout.WINDOW_MS


def processing_targets(job: Job) -> list[str]:
    """Return the targets that are still being rolled out (spec: control plane 2.3)."""
    return job.targets[job.rollout.target_index :] if job.rollout and job.rollout.started_at_ms else []


def _knows_no_rate(current: Rollout, target_index: int) -> bool:
    """The rate is for those who were targets at the creation (spec: control plane 3.3)."""
    return 0 <= current.free_index <= target_index


def _allowed(step: Step, job: Job, current: Rollout) -> int:
    allowed = rollout.per_minute(
        config_of(job),
        current.notified,
        current.succeeded,
        unset_per_minute=step.ports.rules.rollout_per_minute,
    )
    return UNLIMITED if allowed is None else allowed


def _stragglers(step: Step, job: Job, count_max: int) -> list[Thing]:
    """Return things that were members when the rollout began and have left since."""
    return [step.state.things[name] for name in islice(job.owed, count_max)]
