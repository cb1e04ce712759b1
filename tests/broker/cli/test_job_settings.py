"""The settings of a job are shown as the options take them."""

from typing import Any

import pytest

from tests.broker.cli.test_job_options import NOW, given
from thingjobs_broker.cli.job_options import EndBehavior, members
from thingjobs_broker.cli.job_settings import settings_of


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, {}),
        ({"rate": "50/min"}, {"rate": "50/min"}),
        ({"exponential": "50,2,1000"}, {"rate": "50,2,notified=1000"}),
        (
            {"exponential": "5,1.5,notified=2,succeeded=3", "rate": "9/min"},
            {"rate": "5,1.5,notified=2,succeeded=3, at most 9/min"},
        ),
        (
            {"abort": ["FAILED>20.5% after 100", "ALL>50% after 1"]},
            {"abort": "FAILED>20.5% after 100, ALL>50% after 1"},
        ),
        ({"retry": ["FAILED=2", "TIMED_OUT=1"]}, {"retries": "FAILED=2, TIMED_OUT=1"}),
        ({"timeout": "2h"}, {"timeout": "120 min"}),
        (
            {
                "start": "2026-12-01 06:00",
                "end": "2026-12-02 06:00",
                "end_behavior": EndBehavior.FORCE_CANCEL,
            },
            {"start": "2026-12-01 06:00", "end": "2026-12-02 06:00, force-cancel"},
        ),
        (
            {"continuous": True, "window": ["cron(0 2 * * ? *)"], "duration": ["90"]},
            {"windows": "cron(0 2 * * ? *) for 1 h 30 min"},
        ),
        ({"param": ["a=b"]}, {"parameters": "a=b"}),
        ({"namespace": "ns"}, {"namespace": "ns"}),
    ],
)
def test_what_was_given_is_what_is_shown(options: dict[str, Any], shown: dict[str, str]) -> None:
    """So that a job can be made again by reading it."""
    found = settings_of(members(given(**options), now=NOW))
    assert {name: text for name, text in found.items() if text} == shown


def test_a_template_shows_its_windows_too() -> None:
    """They stand outside a schedule there (control plane 6.1)."""
    windows = [{"startTime": "cron(0 2 * * ? *)", "durationInMinutes": 60}]
    assert settings_of({"maintenanceWindows": windows})["windows"] == "cron(0 2 * * ? *) for 1 h"
