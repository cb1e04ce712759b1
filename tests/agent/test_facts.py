"""The facts that conditions may ask for."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import ROOT
from thingjobs_agent import VERSION
from thingjobs_agent.facts import facts_of_device


def test_facts_are_the_system_and_what_the_settings_add(tmp_path: Path) -> None:
    """The settings win."""
    path = tmp_path / "os-release"
    path.write_text('NAME="Raspbian"\nID=raspbian\nVERSION_ID="12"\n')
    facts = facts_of_device("press-7", ["site=oslo", "hostName=x=y"], path)
    assert facts == {
        "thingName": "press-7",
        "agentVersion": VERSION,
        "hostName": "x=y",
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "osId": "raspbian",
        "osVersion": "12",
        "site": "oslo",
    }


def test_system_without_a_name_has_no_such_facts(tmp_path: Path) -> None:
    """Conditions on them cannot hold."""
    assert "osId" not in facts_of_device("press-7", [], tmp_path / "none")


def test_version_is_that_of_the_distribution() -> None:
    """A constant, kept equal by this test."""
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text()
