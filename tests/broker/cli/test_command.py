"""How a command ends when its output cannot be written."""

from pathlib import Path

import pytest
import typer

from thingjobs_broker.cli.command import end
from thingjobs_broker.cli.exit_codes import ExitCode


@pytest.mark.parametrize("text", ["short enough to stay in the buffer", "long\n" * 10_000])
def test_a_full_disk_behind_the_output_is_one_line(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`thingjobs store export > FILE`: neither a traceback nor an exit code of 0."""

    def write() -> None:
        full.write(text)

    with Path("/dev/full").open("w", encoding="utf-8") as full, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", full)
        with pytest.raises(typer.Exit) as ended:
            end(write)
    assert ended.value.exit_code == ExitCode.LOCAL_FILE
    assert capsys.readouterr().err == (
        "thingjobs: cannot write to standard output: No space left on device\n"
    )


def test_another_fault_is_not_taken_for_that() -> None:
    """A fault of ours shows as one."""

    def fail() -> None:
        raise OSError("no number")

    with pytest.raises(OSError, match="no number"):
        end(fail)
