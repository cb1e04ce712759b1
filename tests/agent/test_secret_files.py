"""Files with secrets: whose they must be, who else may see them, and that none is read in part."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thingjobs_agent.errors import UsageError
from thingjobs_agent.secret_files import FILE_BYTES_MAX, read_private


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("change-me\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620])
def test_file_that_others_can_use_is_refused(secret: Path, mode: int) -> None:
    """With the command that repairs it."""
    secret.chmod(mode)
    with pytest.raises(UsageError, match=f"chmod 600 {secret}"):
        read_private(str(secret), "password_file")


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_group_may_read_it(secret: Path, mode: int) -> None:
    """That is the owner's choice."""
    secret.chmod(mode)
    assert read_private(str(secret), "password_file") == "change-me\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_somebody_else_is_refused(secret: Path) -> None:
    """Its owner could read and replace it."""
    os.chown(secret, 65_534, -1)
    with pytest.raises(UsageError, match="must belong to root or to the agent's user"):
        read_private(str(secret), "password_file")


def test_file_that_is_too_large_is_refused(secret: Path) -> None:
    """Read in part, a list of secrets would leave the others to be seen."""
    secret.write_text("s" * FILE_BYTES_MAX)
    assert len(read_private(str(secret), "redact_file")) == FILE_BYTES_MAX
    secret.write_text("s" * (FILE_BYTES_MAX + 1))
    with pytest.raises(UsageError, match=r"redact_file .* is larger than 64 KiB"):
        read_private(str(secret), "redact_file")
