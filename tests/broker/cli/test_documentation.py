"""docs/operators.md and docs/testing.md say what is there."""

import re
import shlex

import typer.main

from tests.broker.cli.documentation import PAGE, tables, with_tables
from tests.support import ROOT
from thingjobs_broker import testing
from thingjobs_broker.cli import grammar
from thingjobs_broker.cli.main import app

TESTING = ROOT / "docs" / "testing.md"


def test_the_tables_are_those_of_the_code() -> None:
    """Written anew by `python -m tests.broker.cli.documentation`."""
    text = PAGE.read_text()
    assert all(f"<!-- {marker} -->\n\n|" in text for marker in tables())
    assert with_tables(text) == text


def test_the_short_forms_that_are_shown_can_be_given() -> None:
    """Whoever copies them must not be refused."""
    text = PAGE.read_text()
    shown = {name: re.findall(rf'--{name} ("[^"]+"|[^\s`;:]+)', text) for name in ("rate", "abort", "retry")}
    assert all(shown.values())
    for name, examples in shown.items():
        for example in examples:
            getattr(grammar, name)(*shlex.split(example))
    assert grammar.exponential("50,2,1000")["baseRatePerMinute"] == 50


def test_the_commands_that_are_named_exist() -> None:
    """With every option that stands in the same line."""
    root = typer.main.get_command(app)
    for line in re.findall(r"^thingjobs (.*)$", PAGE.read_text() + TESTING.read_text(), re.MULTILINE):
        command, words = root, shlex.split(line, comments=True)
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        assert command is not root, line
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_the_members_of_the_fixture_are_those_of_the_service() -> None:
    """Each name in the first column."""
    table = re.findall(r"^\| (`[^|]+`) \|", TESTING.read_text(), re.MULTILINE)
    names = {name.partition("(")[0] for cell in table for name in re.findall(r"`([^`]+)`", cell)}
    assert {"call", "advance", "device", "url"} <= names
    instance = {"host", "port", "operator", "log"}
    assert all(name in instance or hasattr(testing.Service, name) for name in names)
