"""`make demo`: its output is what the README shows, it is quick, and it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.demo_output import masked
from tests.end_to_end.harness import environment

pytestmark = pytest.mark.broker

DEMO = [sys.executable, "-m", "thingjobs_broker.demo"]
SECONDS_MAX = 15.0

EXPECTED = """\
# The broker and the jobs service, in one process.
$ thingjobs up --anonymous --listen 127.0.0.1:PORT --data-dir data &
$ export THINGJOBS_BROKER=mqtt://127.0.0.1:PORT

# A device: this machine.
$ thingjobs thing create demo-gateway
thing demo-gateway is registered
$ thingjobs-agent run --thing demo-gateway --broker mqtt://127.0.0.1:PORT \
--state-dir state --handler-dir handlers &

# A job of three steps.
$ cat job.json
{"version": "1.0", "steps": [
  {"action": {"name": "Collect-Facts", "type": "runHandler", \
"input": {"handler": "collect-facts.sh", "args": [], "path": "default"}}},
  {"action": {"name": "Write-Report", "type": "runHandler", \
"input": {"handler": "write-report.sh", "args": ["/DEMO/report.txt"], "path": "default"}}},
  {"action": {"name": "Check-Report", "type": "runHandler", \
"input": {"handler": "check-report.sh", "args": ["/DEMO/report.txt"], "path": "default"}}}
]}
$ thingjobs job create --id system-report --target demo-gateway --document job.json
job system-report created for demo-gateway
$ thingjobs job watch system-report
IN_PROGRESS  1 in progress; demo-gateway: step 1/3 Collect-Facts
IN_PROGRESS  1 in progress; demo-gateway: step 2/3 Write-Report
IN_PROGRESS  1 in progress; demo-gateway: step 3/3 Check-Report
COMPLETED  1 succeeded
job system-report COMPLETED after N s: 1 succeeded

# What happened, and what came of it.
$ thingjobs job show system-report
system-report  COMPLETED
  targets     demo-gateway
  created     TIME (AGE)
  completed   TIME (AGE)
  executions  1 succeeded

demo-gateway  attempt 1  SUCCEEDED  version N
  TIME  QUEUED       by thingjobs-cli-ID
  TIME  IN_PROGRESS  by device
  TIME  SUCCEEDED    by device
  reason  3 steps succeeded
$ cat report.txt
System report of demo-gateway
job system-report, execution 1

thing            demo-gateway
host FACT
system FACT
kernel FACT
machine FACT
processors FACT
memory_kib FACT
disk_free_kib FACT
uptime_seconds FACT
"""


def start_demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The demo in a session of its own, with its temporary directory under `folder`."""
    return subprocess.Popen(
        [*DEMO, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment({"TMPDIR": str(folder)}),
        start_new_session=True,
    )


def programs_of(folder: Path) -> list[str]:
    """Command lines of the processes that work under `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in str((process / "cwd").readlink()):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # ended meanwhile
    return found


def test_the_demo_shows_a_job_that_succeeds(tmp_path: Path) -> None:
    """Issue: in under 15 s a job of three steps runs, and its progress, timeline and report are shown."""
    started_s = time.monotonic()
    demo = start_demo(tmp_path)
    output, errors = demo.communicate(timeout=50)
    took_s = time.monotonic() - started_s
    assert demo.returncode == 0, errors
    shown = masked(output)
    steps = [line for line in shown if line.startswith("IN_PROGRESS")]
    # On a busy machine a step may be over before the watcher has asked.
    assert steps
    assert shown == [line for line in masked(EXPECTED) if not line.startswith("IN_PROGRESS") or line in steps]
    assert errors == ""
    assert took_s < SECONDS_MAX
    assert list(tmp_path.iterdir()) == []
    assert programs_of(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM in the middle of the job end everything that was started, without a traceback."""
    demo = start_demo(tmp_path)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "demo-gateway: step" in line:
            break
    # Ctrl-C in a terminal reaches the demo and the command in its foreground alike.
    os.killpg(demo.pid, number)
    _, errors = demo.communicate(timeout=20)
    assert demo.returncode == 130
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
    assert programs_of(tmp_path) == []


def test_a_demo_that_fails_says_why_and_shows_the_logs(tmp_path: Path) -> None:
    """A handler that fails, fails the job; the demo exits with 1, shows the logs' ends and cleans up."""
    handlers, temporary = tmp_path / "handlers", tmp_path / "temporary"
    handlers.mkdir()
    temporary.mkdir()
    for name in ("collect-facts.sh", "write-report.sh", "check-report.sh"):
        (handlers / name).write_text("#!/bin/sh\necho no facts here >&2\nexit 3\n")
    output, errors = (demo := start_demo(temporary, "--handlers", str(handlers))).communicate(timeout=50)
    assert demo.returncode == 1
    assert "  demo-gateway FAILED step 1/3 Collect-Facts exited with status 3\n" in output
    assert errors.startswith("demo: thingjobs job watch system-report ended with exit code 1\n")
    assert "--- the end of thingjobs-agent.log" in errors
    assert list(temporary.iterdir()) == []


def test_a_demo_without_handlers_says_where_it_looked(tmp_path: Path) -> None:
    """Installed without the checkout there are no handlers: one line, nothing started."""
    _, errors = (demo := start_demo(tmp_path, "--handlers", str(tmp_path / "none"))).communicate(timeout=20)
    assert demo.returncode == 1
    assert errors == (
        f"demo: there are no handlers in {tmp_path / 'none'}; name device_agent/handlers with --handlers\n"
    )
