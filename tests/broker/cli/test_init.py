"""`thingjobs init`: a directory or one of its commands, what it shows, and how it ends."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from thingjobs_broker.cli.main import app

SECRETS = ["password", "server.key", "ca.key", "device.key"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default directory lies where the command is run."""
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    """A command; nothing it writes is a secret that it made."""
    result = CliRunner().invoke(app, ["init", *arguments])
    for path in Path().rglob("*"):
        if path.name in SECRETS:
            secret = (
                path.read_text(encoding="utf-8").strip().splitlines()[0 if path.name == "password" else 1]
            )
            assert secret not in result.output
    return result


@pytest.mark.parametrize(
    ("arguments", "directory"),
    [
        ([], "thingjobs-setup"),
        (["here"], "here"),
        (["--host", "a.example"], "thingjobs-setup"),
        (["here", "--host", "a.example", "--broker", "mosquitto"], "here"),
        (["--broker", "mosquitto", "here"], "here"),
        (["./device"], "device"),
    ],
)
def test_init_makes_a_directory(arguments: list[str], directory: str) -> None:
    """With or without its name, before and behind the options."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert [path.name for path in Path().iterdir()] == [directory]
    assert f"made  {Path(directory).absolute() / 'ca/ca.key'}" in result.output
    command = "thingjobs serve" if "mosquitto" in arguments else "thingjobs up"
    assert f"  {command} --config " in result.output


@pytest.mark.parametrize("arguments", [[], ["--dir", "here"]])
def test_init_device_and_operator_stand_beside_it(arguments: list[str]) -> None:
    """`thingjobs init device NAME`, as the admin types it."""
    run(*arguments[1:])
    root = Path(*arguments[1:] or ["thingjobs-setup"]).absolute()
    result = run("device", "press-7", *arguments)
    assert result.exit_code == 0, result.output
    assert f"made     {root}/devices/press-7/password" in result.output
    assert "thingjobs-agent run --config /etc/thingjobs-agent/agent.toml" in result.output
    assert run("device", "drill-7", "--certificate", *arguments).exit_code == 0
    assert (root / "devices/drill-7/device.crt").is_file()
    assert run("operator", "ada", *arguments).exit_code == 0
    assert run("revoke", "drill-7", *arguments).exit_code == 0
    assert not (root / "devices/drill-7").exists()


def test_json_tells_the_same_in_one_document() -> None:
    """Each file with what became of it, and what comes next, of all four commands."""
    root = Path("thingjobs-setup").absolute()
    made = json.loads(run("--json").stdout)
    assert {"path": str(root / "ca/ca.key"), "fate": "made"} in made["files"]
    assert made["next"] == [f"thingjobs up --config {root}/broker/up.toml"]
    again = json.loads(run("--json").stdout)
    assert [one["path"] for one in again["files"]] == [one["path"] for one in made["files"]]
    assert {one["fate"] for one in again["files"]} == {"kept"}
    device = json.loads(run("device", "press-7", "--json").stdout)
    assert {"path": f"{root}/devices/press-7/agent.toml", "fate": "made"} in device["files"]
    assert device["next"][1] == "thingjobs-agent run --config /etc/thingjobs-agent/agent.toml"
    operator = json.loads(run("operator", "ada", "--json").stdout)
    assert {"path": f"{root}/operators/ada/password", "fate": "made"} in operator["files"]
    revoked = json.loads(run("revoke", "press-7", "--json").stdout)
    assert {"path": f"{root}/devices/press-7/password", "fate": "removed"} in revoked["files"]
    assert len(revoked["next"]) == 1


def test_an_error_is_one_line_with_json_too() -> None:
    """On standard error, as with every command; nothing that is no JSON reaches a program."""
    result = run("revoke", "press-7", "--json")
    assert (result.exit_code, result.stdout) == (5, "")
    assert len(result.stderr.splitlines()) == 1


def test_the_aws_command_of_an_operator_has_the_address_of_the_listener() -> None:
    """`init operator`: a line to paste, from what `up.toml` says now."""
    run("--host", "broker.example")
    root = Path("thingjobs-setup").absolute()
    settings = root / "broker/up.toml"
    settings.write_text(settings.read_text() + 'http.listen = "0.0.0.0:8443"\n')
    login = root / "operators/ada"
    assert json.loads(run("operator", "ada", "--json").stdout)["next"][-1] == (
        "AWS_ENDPOINT_URL=https://broker.example:8443 AWS_DEFAULT_REGION=local"
        f" AWS_SHARED_CREDENTIALS_FILE={login}/credentials AWS_CA_BUNDLE={login}/ca.crt aws iot list-jobs"
    )


@pytest.mark.parametrize("broker", ["amqtt", "mosquitto"])
def test_without_a_listener_the_setting_is_named(broker: str) -> None:
    """The line before says where the port comes from; the rest is as it will be."""
    run("--host", "broker.example", "--broker", broker)
    file = Path("thingjobs-setup", {"amqtt": "broker/up.toml", "mosquitto": "service/serve.toml"}[broker])
    hint, command = json.loads(run("operator", "eve", "--read-only", "--json").stdout)["next"]
    assert hint == (
        f"PORT is that of the HTTP listener, set with --http HOST:PORT, or http.listen in {file.absolute()}"
    )
    assert command.startswith("AWS_ENDPOINT_URL=https://broker.example:PORT AWS_DEFAULT_REGION=local ")
    assert command.endswith(" aws iot list-jobs")


def test_what_is_kept_is_said(tmp_path: Path) -> None:
    """The same command again."""
    run()
    result = run()
    assert result.exit_code == 0
    assert {line.split()[0] for line in result.output.splitlines() if "/ca/" in line} == {"kept"}
    assert "made" not in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--host", "a b"], 2, "thingjobs: a host is a DNS name or an IP address"),
        (["device", "a/b"], 2, "thingjobs: the name of a device is 1 to 128 characters"),
        (["device", "press-7", "--dir", "nowhere"], 5, "ca.crt is missing; run thingjobs init"),
        (["revoke", "press-7"], 5, "thingjobs: there is no device press-7"),
        (["file"], 5, "is no directory; choose another"),
        (["file/below"], 5, "Not a directory"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], code: int, message: str) -> None:
    """What was wrong and what helps, on standard error, with the exit code of its kind."""
    run()
    Path("file").touch()
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_a_word_too_many_does_nothing() -> None:
    """Such as a misspelled command."""
    assert run("here", "devise", "press-7").exit_code == 2
    assert list(Path().iterdir()) == []
