"""Helpers of the tests that start programs: free ports, programs that must be there, waiting for a port."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SESSION_SECONDS_MAX = 55
ROOT = Path(__file__).resolve().parent.parent

# Debian keeps daemons where an ordinary user's PATH does not look.
_SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def find_program(name: str) -> str | None:
    """The path of an installed program, also where only daemons live, or None."""
    return shutil.which(name, path=_SEARCH_PATH)


def require_program(name: str, *, package: str) -> str:
    """The path of an installed program; a test that cannot have it fails and says how to get it."""
    found = find_program(name)
    if found is None:
        pytest.fail(f"{name} is not installed; install it with: apt-get install {package}", pytrace=False)
    return found


def run_session(script: list[str], folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Give bash these lines in `folder`, with this environment; programs of the project come first."""
    return subprocess.run(
        [shutil.which("bash") or "bash", "-c", "\n".join(script)],
        cwd=folder,
        env={**environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), _SEARCH_PATH])},
        capture_output=True,
        text=True,
        timeout=SESSION_SECONDS_MAX,
        check=False,
    )


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(
    port: int, *, timeout_s: float = 10.0, while_running: subprocess.Popen[bytes] | None = None
) -> None:
    """Returns once something listens on the port of 127.0.0.1.

    Raises:
        TimeoutError: Nothing does in time, or the program that should has ended.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if while_running is not None and (code := while_running.poll()) is not None:
                raise TimeoutError(f"the program ended with {code} before it listened on {port}") from None
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"nothing listens on 127.0.0.1:{port} after {timeout_s} s") from None
            time.sleep(0.02)
        else:
            return
