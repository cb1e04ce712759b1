"""The rules of the device in the settings file: every slip is an error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thingjobs_agent.config import load_config
from thingjobs_agent.errors import UsageError
from thingjobs_agent.local import Rule, read_commands, read_rules


def test_rules_are_read_from_the_settings_file(tmp_path: Path) -> None:
    """One table for each handler, beside the settings."""
    path = tmp_path / "agent.toml"
    path.write_text(
        'limit_cpu_seconds = 60\n[handlers."a.sh"]\n'
        'user = "nobody"\nmemory_mib = 64\nenvironment = ["PROXY"]\n'
    )
    local = load_config(str(path), {}, {}).local
    assert local.rules == {"a.sh": Rule(user="nobody", memory_mib=64, environment=("PROXY",))}
    assert local.rule("a.sh").cpu_seconds == 60


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([], "handlers must be a table of tables"),
        ({"a.sh": 1}, '[handlers."a.sh"] must be a table (in agent.toml)'),
        (
            {"a.sh": {"cpu_second": 1}},
            "unknown key 'cpu_second' in [handlers.\"a.sh\"] of agent.toml; did you mean 'cpu_seconds'?",
        ),
        ({"a.sh": {"user": 1}}, 'user in [handlers."a.sh"] of agent.toml: Expected str'),
        ({"a.sh": {"cpu_seconds": 0}}, "cpu_seconds in"),
        ({"a.sh": {"environment": "PATH"}}, "environment in"),
    ],
)
def test_wrong_rule_is_named(table: Any, expected: str) -> None:
    """A misspelled limit must not leave a handler without one."""
    with pytest.raises(UsageError) as caught:
        read_rules(table, "agent.toml")
    assert expected in str(caught.value)


@pytest.mark.parametrize("entry", ["", "ls -l", '/bin/sh "'])
def test_allowed_command_begins_with_a_path(entry: str) -> None:
    """A bare name would depend on somebody's PATH."""
    with pytest.raises(UsageError, match="allowed_commands"):
        read_commands([entry])


@pytest.mark.parametrize("fact", ["site", "=oslo"])
def test_fact_is_a_pair(fact: str) -> None:
    """One line with the form."""
    with pytest.raises(UsageError, match="facts must be name=value"):
        load_config(None, {"facts": [fact]}, {})
