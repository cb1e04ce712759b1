"""`python -m thingjobs_broker.demo`: a broker, the jobs service and an agent on this machine run a real job.

Everything happens in a temporary directory and on a free port, and is gone afterwards. The output is a
tutorial: each command is printed as a reader would type it, followed by what it wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from thingjobs_broker.programs import BackgroundProgram, ProgramError

if TYPE_CHECKING:
    from collections.abc import Sequence

THING_NAME: Final = "demo-gateway"
JOB_ID: Final = "system-report"
START_SECONDS_MAX: Final = 15.0
STEP_SECONDS: Final = 1.0
LOG_LINES_SHOWN: Final = 20
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

PROGRAMS: Final = {
    "thingjobs": [sys.executable, "-m", "thingjobs_broker.cli.main"],
    "thingjobs-agent": [sys.executable, "-m", "thingjobs_agent"],
}
"""By module, so that the demo runs what it was started with, whatever the PATH holds."""

HANDLERS: Final = (
    Path(__file__).resolve().parents[2] / "device_agent" / "handlers",
    Path(sys.prefix) / "share" / "thingjobs-agent" / "handlers",
)
"""In a checkout, and where a wheel is installed."""


class DemoError(Exception):
    """The demo cannot go on; the message is one line."""


class Demo:
    """The stage: a directory, a port and the programs in the background."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._logs: list[Path] = []
        self._environ = {
            name: value for name, value in os.environ.items() if not name.startswith("THINGJOBS_")
        }

    def export(self, name: str, value: str) -> None:
        """Set a variable for the commands that follow."""
        show(f"$ export {name}={value}")
        self._environ[name] = value

    def start(self, command: str, *, ready: str) -> None:
        """Run a command in the background until the demo ends; return when it has written `ready`."""
        show(f"$ {command} &")
        arguments = self._arguments(command)
        name = command.partition(" ")[0]
        log = self.folder / f"{name}.log"
        self._logs.append(log)
        program = BackgroundProgram(name, arguments, log=log, environ=self._environ, folder=self.folder)
        self._stack.enter_context(program)
        program.wait_for(ready, timeout_seconds=START_SECONDS_MAX)

    def run(self, command: str) -> None:
        """Run a command on this terminal.

        Raises:
            DemoError: it fails.

        """
        show(f"$ {command}")
        code = subprocess.run(
            self._arguments(command), env=self._environ, cwd=self.folder, check=False
        ).returncode
        if code:
            raise DemoError(f"{command} ended with exit code {code}")

    def cat(self, name: str) -> None:
        """Show a file."""
        show(f"$ cat {name}")
        show((self.folder / name).read_text(encoding="utf-8").rstrip("\n"))

    def logs(self) -> str:
        """Return the ends of the logs."""
        tails = []
        for log in self._logs:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            tails += [f"--- the end of {log.name}", *lines[-LOG_LINES_SHOWN:]]
        return "\n".join(tails)

    def _arguments(self, command: str) -> list[str]:
        program, *arguments = shlex.split(command)
        return [*PROGRAMS[program], *arguments]


def play(demo: Demo, handlers: Path) -> None:
    """Go through the tutorial."""
    broker = f"mqtt://127.0.0.1:{free_port()}"
    copy_handlers(handlers, demo.folder / "handlers")
    write_document(demo.folder / "job.json", report=demo.folder / "report.txt")

    show("# The broker and the jobs service, in one process.")
    listen = broker.removeprefix("mqtt://")
    demo.start(f"thingjobs up --anonymous --listen {listen} --data-dir data", ready="listening on ")
    demo.export("THINGJOBS_BROKER", broker)

    show("\n# A device: this machine.")
    demo.run(f"thingjobs thing create {THING_NAME}")
    folders = "--state-dir state --handler-dir handlers"
    demo.start(f"thingjobs-agent run --thing {THING_NAME} --broker {broker} {folders}", ready="Connected")

    show("\n# A job of three steps.")
    demo.cat("job.json")
    demo.run(f"thingjobs job create --id {JOB_ID} --target {THING_NAME} --document job.json")
    demo.run(f"thingjobs job watch {JOB_ID}")

    show("\n# What happened, and what came of it.")
    demo.run(f"thingjobs job show {JOB_ID}")
    demo.cat("report.txt")


def shipped_handlers() -> Path:
    """Return the folder of the handlers that came with this installation."""
    return next((folder for folder in HANDLERS if folder.is_dir()), HANDLERS[-1])


def copy_handlers(source: Path, target: Path) -> None:
    """Copy the handlers to where only we may write, and slow them down so that there is something to watch.

    Raises:
        DemoError: there are none.

    """
    scripts = sorted(source.glob("*.sh")) if source.is_dir() else []
    if not scripts:
        raise DemoError(f"there are no handlers in {source}; name device_agent/handlers with --handlers")
    target.mkdir(mode=0o700)
    for script in scripts:
        copy = target / script.name
        shutil.copyfile(script, copy)
        with copy.open("a", encoding="utf-8") as file:
            file.write(f"sleep {STEP_SECONDS}\n")
        copy.chmod(0o700)


def write_document(document: Path, *, report: Path) -> None:
    """Write the job document: collect, write, check."""
    steps = {
        "Collect-Facts": ("collect-facts.sh", []),
        "Write-Report": ("write-report.sh", [str(report)]),
        "Check-Report": ("check-report.sh", [str(report)]),
    }
    lines = [
        json.dumps(
            {
                "action": {
                    "name": name,
                    "type": "runHandler",
                    "input": {"handler": handler, "args": arguments, "path": "default"},
                }
            }
        )
        for name, (handler, arguments) in steps.items()
    ]
    text = '{"version": "1.0", "steps": [\n  ' + ",\n  ".join(lines) + "\n]}\n"
    document.write_text(text, encoding="utf-8")


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def show(text: str) -> None:
    """Write to standard output at once: the commands write there as well."""
    print(text, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the demo and return the exit code; everything it started and wrote is gone then."""
    parser = argparse.ArgumentParser(
        prog="python -m thingjobs_broker.demo",
        description="Run a broker, the jobs service and an agent on this machine, and a real job on them.",
    )
    parser.add_argument(
        "--handlers", metavar="DIR", type=Path, default=shipped_handlers(), help="folder of the job handlers"
    )
    options = parser.parse_args(arguments)
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="thingjobs-demo-", ignore_cleanup_errors=True)
            )
        )
        demo = Demo(folder, stack)
        try:
            play(demo, options.handlers.resolve())
        except (DemoError, ProgramError, OSError) as error:
            print(f"demo: {error}\n{demo.logs()}".rstrip(), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            # From here on everything is being ended; a second Ctrl-C must not leave half of it running.
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
    return 0


def _interrupt(number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
