"""Small worlds have small slices and short spans, so that much happens between two of them. The rules are the
same; only constants are others.
"""

from functools import partial
from types import SimpleNamespace

import pytest

from tests.simulation.schedule import SECOND_US, Schedule
from thingjobs_broker import runner
from thingjobs_broker.core import lifecycle, membership, rolling_out, scheduling, service
from thingjobs_broker.core import schedule as core_schedule
from thingjobs_broker.pace import Pace


def replace(patch: pytest.MonkeyPatch, schedule: Schedule) -> None:
    """Put small ones in the place of the true ones."""
    random = schedule.random
    for module, name in (
        (lifecycle, "SWEEP_SLICE"),
        (rolling_out, "ROLLOUT_SLICE"),
        (scheduling, "OWED_SLICE"),
        (membership, "CHANGES_SLICE"),
        (service, "JOBS_RECORDS_SLICE"),
        (service, "TIMERS_SLICE"),
    ):
        patch.setattr(module, name, random.choice([1, 1, 2, 250]))
    patch.setattr(core_schedule, "LEAD_MINUTES_MIN", 0)
    # A slice takes no virtual time, but is followed by a pause for as if it had.
    clock = SimpleNamespace(now=lambda: schedule.now_us / SECOND_US, used=lambda: random.random() * 0.2)
    patch.setattr(runner, "Pace", partial(Pace, now=clock.now, used=clock.used))
