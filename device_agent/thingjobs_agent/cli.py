"""The command line: `thingjobs-agent run | status | validate`. Reads arguments, prints, and picks the exit
code.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import difflib
import os
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from thingjobs_agent.config import Settings, absolute, broker_of, load_settings
from thingjobs_agent.document import DocumentError, parse
from thingjobs_agent.errors import EXIT_FAULT, EXIT_INVALID_DOCUMENT, EXIT_OK, AgentError, UsageError
from thingjobs_protocol.limits import JOB_DOCUMENT_BYTES_MAX

EPILOG: Final = """\
examples:
  thingjobs-agent run --thing press-7 --broker mqtt://broker.local:1883 \\
      --state-dir /var/lib/thingjobs-agent --handler-dir /etc/thingjobs-agent/handlers
  thingjobs-agent run --config /etc/thingjobs-agent/agent.toml
  thingjobs-agent status --json
  thingjobs-agent validate job.json

Every option of run is also a key of the settings file and an environment variable:
--state-dir, state_dir = "...", THINGJOBS_AGENT_STATE_DIR. The password is only in the file,
in password_file or in THINGJOBS_AGENT_PASSWORD.

SIGTERM and SIGINT stop the agent. A running handler gets SIGTERM and, after
--cancel-grace-period-seconds, SIGKILL; its job is reported at the next start as FAILED
(interrupted by restart), or runs again if its document says "onRestart": "restart" or "resume".

exit codes:
  0   done; for run: stopped by a signal
  1   validate: the document would be rejected
  2   an option, a setting or a file named by one is wrong
  3   the state directory cannot be used
  4   another agent runs with this state directory
  70  a fault of the agent itself
"""


class _Parser(argparse.ArgumentParser):
    """Errors in one line, with the nearest known option for one that is not known."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)  # noqa: T201 - the command line
        raise SystemExit(UsageError.exit_code)

    def known_options(self) -> list[str]:
        return [option for action in self._actions for option in action.option_strings]


class _Version(argparse.Action):
    """Looks the version up only when asked: that takes longer than most commands."""

    def __call__(self, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

        try:
            print(f"thingjobs-agent {version('thingjobs')}")  # noqa: T201 - the command line
        except PackageNotFoundError:
            print("thingjobs-agent, not installed")  # noqa: T201 - the command line
        raise SystemExit(EXIT_OK)


def run() -> NoReturn:
    """Console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    parser, commands = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        command = commands[options.command]
        close = difflib.get_close_matches(unknown[0].partition("=")[0], command.known_options(), n=1)
        command.error(f"unknown option {unknown[0]}" + (f"; did you mean {close[0]}?" if close else ""))
    try:
        return int(options.act(options))
    except AgentError as error:
        print(f"thingjobs-agent: {error}", file=sys.stderr)  # noqa: T201 - the command line
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    parser = _Parser(
        prog="thingjobs-agent",
        description="Runs jobs on this device and reports what became of them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    run_ = commands.add_parser("run", help="connect and run jobs until stopped", allow_abbrev=False)
    run_.add_argument("--config", metavar="FILE", help="settings file (TOML)")
    run_.add_argument("--json", action="store_true", help="log as JSON, short for --log-format json")
    for field in dataclasses.fields(Settings):
        if not field.metadata["secret"]:
            flag = "--" + field.name.replace("_", "-")
            run_.add_argument(flag, dest=field.name, metavar="VALUE", help=field.metadata["help"])
    run_.set_defaults(act=_run)

    status = commands.add_parser(
        "status", help="show the job in hand, agent running or not", allow_abbrev=False
    )
    status.add_argument("--config", metavar="FILE", help="settings file (TOML)")
    status.add_argument(
        "--state-dir", metavar="DIR", help=Settings.__dataclass_fields__["state_dir"].metadata["help"]
    )
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(act=_status)

    validate = commands.add_parser(
        "validate", help="check a job document without running it", allow_abbrev=False
    )
    validate.add_argument(
        "document", metavar="DOCUMENT", help="file with the job document, - for standard input"
    )
    validate.add_argument("--json", action="store_true", help="print JSON")
    validate.set_defaults(act=_validate)
    return parser, {"run": run_, "status": status, "validate": validate}


def _run(options: argparse.Namespace) -> int:
    # The MQTT library and the log are not small, and only this command needs them.
    import structlog  # noqa: PLC0415

    from thingjobs_agent.checkpoint import Store  # noqa: PLC0415
    from thingjobs_agent.driver import Driver  # noqa: PLC0415
    from thingjobs_agent.logs import configure  # noqa: PLC0415

    flags = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(Settings)}
    if options.json:
        flags["log_format"] = "json"
    settings = load_settings(options.config, flags, os.environ)
    broker = broker_of(settings)
    _check_handler_dir(absolute(settings.handler_dir))
    store = Store(absolute(settings.state_dir))
    store.prepare()
    configure(settings.log_format, settings.log_level)
    log = structlog.get_logger().bind(thing_name=settings.thing)
    try:
        asyncio.run(Driver(settings, broker, store, log).run())
    except AgentError:
        raise
    except Exception:
        log.exception("The agent stops because of a fault of its own", action="fault")
        return EXIT_FAULT
    finally:
        store.close()
    log.info("Stopped", action="stopped")
    return EXIT_OK


def _check_handler_dir(handler_dir: Path) -> None:
    """Say at once what would otherwise reject every job."""
    from thingjobs_agent.handlers import directory_refusal  # noqa: PLC0415

    if not handler_dir.is_dir():
        raise UsageError(
            f"handler_dir {handler_dir} is not a directory; create it, or give it with --handler-dir"
        )
    refusal = directory_refusal(handler_dir.stat(), str(handler_dir))
    if refusal is not None:
        raise UsageError(refusal)


def _status(options: argparse.Namespace) -> int:
    from thingjobs_agent.status import read_status, status_lines  # noqa: PLC0415

    settings = load_settings(options.config, {"state_dir": options.state_dir}, os.environ)
    status = read_status(absolute(settings.state_dir))
    _print_json(status) if options.json else _print_lines(status_lines(status))
    return EXIT_OK


def _validate(options: argparse.Namespace) -> int:
    text = _read_document(options.document)
    fault = None
    if len(text) > JOB_DOCUMENT_BYTES_MAX:
        fault = f"the document is larger than {JOB_DOCUMENT_BYTES_MAX} bytes"
    else:
        try:
            steps = len(parse(text).steps)
        except DocumentError as error:
            fault = str(error)
    if options.json:
        _print_json({"is_valid": fault is None, "reason": fault})
    elif fault is None:
        _print_lines([f"valid: {steps} steps" if steps > 1 else "valid: 1 step"])
    else:
        _print_lines([f"invalid: {fault}"])
    return EXIT_OK if fault is None else EXIT_INVALID_DOCUMENT


def _read_document(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(JOB_DOCUMENT_BYTES_MAX + 1)
        with Path(name).open("rb") as file:
            return file.read(JOB_DOCUMENT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _print_json(value: dict[str, Any]) -> None:
    print(msgspec.json.format(msgspec.json.encode(value)).decode())  # noqa: T201 - the command line


def _print_lines(lines: list[str]) -> None:
    print("\n".join(lines))  # noqa: T201 - the command line
