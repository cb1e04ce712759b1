"""Every command has help with examples, the connection options and `--json`; the help has the exit codes."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from thingjobs_broker.cli.exit_codes import MEANINGS, ExitCode
from thingjobs_broker.cli.main import app

CONNECTION = {"--broker", "--password-file", "--ca-file", "--topic-root", "--timeout-seconds"}
STORE = {"store check", "store repair", "store export", "store import"}
NO_CLIENTS = {"up", "serve", "init device", "init operator", "init revoke", *STORE}


def commands(group: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and command of every leaf of the tree."""
    group = typer.main.get_command(app) if group is None else group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


COMMANDS = dict(commands())


def test_the_tree_has_the_commands_that_the_readme_names() -> None:
    """A renamed command breaks scripts."""
    assert set(COMMANDS) == {
        *("up", "serve", "doctor", "init device", "init operator", "init revoke"),
        *("call", "events", "execution list", "execution show", "execution timeline"),
        *("execution extend", "execution cancel", "execution delete"),
        *(f"thing {each}" for each in ("create", "list", "show", "update", "delete", "groups")),
        *(f"group {each}" for each in ("create", "list", "show", "members", "add", "remove")),
        *("group delete", "group timeouts", "group index"),
        *(f"type {each}" for each in ("create", "list", "show", "deprecate", "delete")),
        *(f"template {each}" for each in ("create", "list", "show", "delete")),
        *("tag list", "tag add", "tag remove"),
        *("job create", "job preview", "job list", "job show", "job watch", "job cancel", "job delete"),
        *("job document", "job update", "job retry", "why"),
        *STORE,
    }


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_explains_itself_with_examples(path: str) -> None:
    """Help, at least one example that begins with the command, and a meaning for every option."""
    command = COMMANDS[path]
    assert command.help
    examples = command.epilog.splitlines()
    assert examples[1] == "Examples:"
    assert all(f"thingjobs {path}" in example for example in examples[2:])
    assert len(examples) > 2
    assert all(parameter.help for parameter in command.params if parameter.name != "help")


@pytest.mark.parametrize("path", sorted(set(COMMANDS) - NO_CLIENTS))
def test_every_client_command_takes_the_connection_options_and_json(path: str) -> None:
    """They stand after the command, where one looks for them."""
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert options >= {*CONNECTION, "--json"}


def test_no_option_takes_a_password() -> None:
    """Arguments can be read by every user of the machine."""
    options = {opt for command in COMMANDS.values() for parameter in command.params for opt in parameter.opts}
    assert {option for option in options if "password" in option} == {
        *("--password-file", "--device-password-file"),
    }


def test_the_help_shows_every_exit_code() -> None:
    """Scripts rely on them; the table is the one in exit_codes."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert set(MEANINGS) == set(ExitCode)
    for code, meaning in MEANINGS.items():
        assert f"{int(code):3}  {meaning}" in shown


def test_wrong_usage_suggests_and_exits_with_2() -> None:
    """A mistyped command or option is an error of usage, with the nearest right one."""
    for arguments, suggestion in [(["job", "shwo"], "show"), (["job", "list", "--limt", "3"], "--limit")]:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == ExitCode.USAGE
        assert suggestion in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["job", "create", "--document", "-"],
        ["job", "create", "--target", "t"],
        ["job", "create", "--target", "t", "--query", "thingName:*", "--document", "-"],
        ["job", "preview", "--target", "t"],
        ["job", "update", "j"],
        ["job", "retry", "j", "--only", "good"],
        ["execution", "list"],
        ["execution", "extend", "t", "j", "--timeout", "long"],
        ["events", "--job", "a/b"],
        ["group", "create", "g", "--query", "*", "--parent", "p"],
        ["group", "add", "g"],
        ["group", "index", "EVERYTHING"],
        ["group", "index", "--connectivity"],
        ["group", "timeouts", "g", "--none", "--default", "3"],
        ["thing", "update", "t"],
        ["thing", "list", "--query", "*", "--attribute", "a"],
        ["template", "create", "x", "--description", "d"],
        ["tag", "list", "jobs/x"],
        ["tag", "add", "job/x", "team"],
        ["job", "create", "--target", "t", "--document", "-", "--retry", "FAILED"],
        ["job", "create", "--target", "t", "--document", "-", "--retry", "BROKEN=1"],
        ["job", "create", "--target", "t", "--document", "-", "--retry", "FAILED=\u00b2"],
        ["job", "list", "--limit", "0"],
        ["job", "list", "--status", "DONE"],
        ["thing", "create", "t", "--attribute", "site"],
        ["thing", "list", "--attribute", "=berlin"],
        ["thing", "list", "--broker", "gateway"],
        ["thing", "list", "--timeout-seconds", "nan"],
        ["call", "DescribeJob", "--json", "{"],
        ["job", "watch", "j", "--interval-seconds", "0"],
    ],
)
def test_wrong_values_are_found_before_anything_is_opened(arguments: list[str]) -> None:
    """Exit code 2, not 4: there is no broker here, and nobody looked for one."""
    done = CliRunner().invoke(app, arguments, input="{}")
    assert done.exit_code == ExitCode.USAGE, done.output
    assert "Traceback" not in done.output


def test_the_version_is_shown() -> None:
    """That of the distribution."""
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.output.startswith("thingjobs 0.")


@pytest.mark.parametrize("command", ["why", "execution list", "group index"])
def test_what_may_be_left_out_stands_in_one_pair_of_brackets(command: str) -> None:
    """`[JOB_ID]`, as in every manual."""
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}).output
    assert "[[" not in shown
    assert re.search(r"Usage: .* \[(JOB_ID|OFF\|REGISTRY)\]", shown)
