"""Where the settings of a program that serves come from, as far as the command line has a say in it."""

from pathlib import Path

import pytest

from thingjobs_broker.cli.settings import find_settings
from thingjobs_broker.config import SidecarSettings


@pytest.mark.parametrize(
    ("variables", "flags", "said"),
    [
        ({}, {}, ""),
        ({"THINGJOBS_CLIENT_ID": "two"}, {}, ""),
        ({"THINGJOBS_BROKER": "mqtt://else"}, {}, "THINGJOBS_BROKER in"),
        (
            {"THINGJOBS_BROKER": "mqtt://else", "THINGJOBS_PASSWORD": "hush"},
            {},
            "THINGJOBS_BROKER, THINGJOBS_P",
        ),
        ({"THINGJOBS_BROKER": "mqtt://else"}, {"broker": "mqtt://third"}, ""),
        ({"THINGJOBS_RETENTION_DAYS": "9"}, {}, "THINGJOBS_RETENTION_DAYS in"),
    ],
)
def test_an_environment_that_wins_over_the_file_is_told(  # noqa: PLR0917 - pytest fills them in
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    flags: dict[str, str],
    said: str,
) -> None:
    """An operator's shell names the operator's login, with which no service can serve. No value is shown."""
    file = tmp_path / "serve.toml"
    file.write_text('broker = "mqtt://here"\npassword = "secret"\n[retention]\ndays = 7\n', encoding="utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    find_settings(SidecarSettings, flags, str(file))
    shown = capsys.readouterr().err
    assert shown.startswith(f"thingjobs: note: {said}" if said else "")
    assert len(shown.splitlines()) == (1 if said else 0)
    assert "hush" not in shown
    assert "secret" not in shown
