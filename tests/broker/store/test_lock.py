"""The data directory: private, ours, and served by one process at a time."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from thingjobs_broker.store.errors import DataDirectoryInUse, DataDirectoryUnusable
from thingjobs_broker.store.lock import DataDirectoryLock, prepare_data_directory


def mode_of(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_holder_is_refused_with_directory_and_pid(tmp_path: Path) -> None:
    """The message says who holds it and what to do."""
    with DataDirectoryLock(tmp_path):
        with pytest.raises(DataDirectoryInUse) as caught:
            DataDirectoryLock(tmp_path)
        assert (caught.value.directory, caught.value.pid) == (tmp_path, os.getpid())
        assert str(caught.value) == (
            f"data directory {tmp_path} is in use by process {os.getpid()};"
            " stop it or choose another directory"
        )
        # The one that was refused must not have taken the lock away.
        with pytest.raises(DataDirectoryInUse):
            DataDirectoryLock(tmp_path)


def test_another_process_is_refused(tmp_path: Path) -> None:
    """The lock is the operating system's."""
    program = (
        "import sys, pathlib; from thingjobs_broker.store.lock import DataDirectoryLock;"
        "DataDirectoryLock(pathlib.Path(sys.argv[1]))"
    )
    with DataDirectoryLock(tmp_path):
        refused = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert f"in use by process {os.getpid()}" in refused.stderr
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == 0
    # A process that ended without releasing holds nothing.
    DataDirectoryLock(tmp_path).release()


def test_a_released_lock_is_free(tmp_path: Path) -> None:
    """Releasing twice does nothing, and the file stays."""
    lock = DataDirectoryLock(tmp_path)
    lock.release()
    lock.release()
    assert (tmp_path / "lock").exists()
    with DataDirectoryLock(tmp_path):
        pass


def test_the_lock_file_is_private(tmp_path: Path) -> None:
    """0600, and it holds the pid."""
    with DataDirectoryLock(tmp_path):
        assert mode_of(tmp_path / "lock") == 0o600
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_holder_that_left_no_pid_is_still_refused(tmp_path: Path) -> None:
    """A lock file with junk in it is no traceback."""
    with DataDirectoryLock(tmp_path):
        (tmp_path / "lock").write_text("junk")
        with pytest.raises(DataDirectoryInUse, match="in use by another process"):
            DataDirectoryLock(tmp_path)


def test_a_directory_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    """Absent, or with a directory where the lock file belongs."""
    with pytest.raises(DataDirectoryUnusable, match=r"absent: cannot be locked: No such file"):
        DataDirectoryLock(tmp_path / "absent")
    (tmp_path / "lock").mkdir()
    with pytest.raises(DataDirectoryUnusable, match="cannot be locked: Is a directory"):
        DataDirectoryLock(tmp_path)


def test_a_missing_directory_is_created_private_with_its_parents(tmp_path: Path) -> None:
    """0700 whatever the umask leaves to others."""
    prepare_data_directory(tmp_path / "a" / "b")
    assert (mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")) == (0o700, 0o700)
    prepare_data_directory(tmp_path / "a" / "b")


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    """Somebody chose it; what is in it is private by itself."""
    tmp_path.chmod(0o755)
    prepare_data_directory(tmp_path)
    assert mode_of(tmp_path) == 0o755


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("file", "is not a directory"),
        ("file/below", "cannot be created: Not a directory"),
        ("link", "cannot be created: File exists"),
        ("nu\0ll", "cannot be created: embedded null byte"),
    ],
)
def test_a_path_that_can_be_no_directory_is_refused(tmp_path: Path, path: str, problem: str) -> None:
    """One line that names the path and the problem."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(DataDirectoryUnusable) as caught:
        prepare_data_directory(tmp_path / path)
    assert str(caught.value) == f"data directory {tmp_path / path}: {problem}; choose another directory"


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running as root by mistake must not leave files the service cannot open the next day."""
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(DataDirectoryUnusable, match=f"belongs to user {owner}, .* runs as user {owner + 1}"):
        prepare_data_directory(tmp_path)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """They could swap the journal; nothing is changed, since the directory may be shared for a reason."""
    tmp_path.chmod(mode)
    with pytest.raises(DataDirectoryUnusable, match=r"writable by others .*chmod go-w"):
        prepare_data_directory(tmp_path)
    assert mode_of(tmp_path) == mode


def test_a_directory_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is asked, since root and read-only disks make the mode say little."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DataDirectoryUnusable, match=r"is not readable and writable .*chmod 700"):
        prepare_data_directory(tmp_path)


def test_on_a_disk_that_takes_no_writes_it_may_still_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that the kernel made read-only is where an export is wanted most; rivals are still seen."""
    holder = DataDirectoryLock(tmp_path)
    real_open = os.open

    def refusing(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, "Read-only file system")
        return real_open(path, flags, *mode)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(DataDirectoryUnusable, match="Read-only file system"):
        DataDirectoryLock(tmp_path)
    with pytest.raises(DataDirectoryInUse):
        DataDirectoryLock(tmp_path, to_read=True)
    holder.release()
    with DataDirectoryLock(tmp_path, to_read=True), pytest.raises(DataDirectoryInUse):
        DataDirectoryLock(tmp_path, to_read=True)
    (tmp_path / "lock").unlink()
    DataDirectoryLock(tmp_path, to_read=True).release()
