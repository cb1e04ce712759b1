"""The commands, their help and their options: read once, and forgotten by the agent that runs."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, Final, NoReturn

from thingjobs_agent.config import Settings
from thingjobs_agent.errors import EXIT_OK, UsageError

EPILOG: Final = """\
examples:
  thingjobs-agent run --thing press-7 --broker mqtt://broker.local:1883 \\
      --state-dir /var/lib/thingjobs-agent --handler-dir /etc/thingjobs-agent/handlers
  thingjobs-agent run --config /etc/thingjobs-agent/agent.toml
  thingjobs-agent status --json
  thingjobs-agent logs -f
  thingjobs-agent hold --for 2h --reason "replacing the power supply"
  thingjobs-agent plan job.json
  thingjobs-agent doctor

Every option of run is also a key of the settings file and an environment variable:
--state-dir, state_dir = "...", THINGJOBS_AGENT_STATE_DIR; every command takes them, and
--config FILE or THINGJOBS_AGENT_CONFIG. The password is only in the file, in password_file
or in THINGJOBS_AGENT_PASSWORD.

SIGTERM and SIGINT stop the agent. A running handler gets SIGTERM and, after
--cancel-grace-period-seconds, SIGKILL; its job is reported at the next start as FAILED
(interrupted by restart), or runs again if its document says "onRestart": "restart" or "resume".

exit codes:
  0   done; for run: stopped by a signal
  1   the answer is no: the document would be rejected, the job failed, a check found a fault
  2   an option, a setting or a file named by one is wrong
  3   the state directory cannot be used
  4   another agent runs with this state directory, or a job is in the way
  5   the broker or the service gives no answer
  6   there is no such job or log on this device
  70  a fault of the agent itself
  74  the output cannot be written
"""

DOCUMENT: Final = (
    ("document",),
    {"metavar": "DOCUMENT", "help": "file with the job document, - for standard input"},
)
REASON: Final = (("--reason",), {"required": True, "metavar": "TEXT", "help": "why; operators see it"})
OFFLINE: Final = (("--offline",), {"action": "store_true", "help": "leave the network out"})


class _Command:
    """One command: its help, the function that does it, an example, its own arguments."""

    def __init__(self, summary: str, place: str, example: str, *arguments: Any) -> None:
        self.summary = summary
        self.example = example
        self.module, _, self.function = place.partition(".")
        self.arguments = arguments


COMMANDS: Final = {
    "run": _Command(
        "connect and run jobs until stopped",
        "running.run",
        "run --config /etc/thingjobs-agent/agent.toml",
        (("--json",), {"action": "store_true", "help": "log as JSON, short for --log-format json"}),
    ),
    "status": _Command("show the job in hand", "looking.status", "status --json"),
    "history": _Command(
        "show the last jobs",
        "looking.history",
        "history --count 5",
        (("--count",), {"type": int, "default": 20, "metavar": "N", "help": "how many; 20 if not given"}),
    ),
    "show": _Command(
        "show what is known of a job",
        "looking.show_job",
        "show update-42",
        (("job_id",), {"metavar": "JOB", "help": "its id"}),
    ),
    "logs": _Command(
        "show what the handlers of a job printed",
        "looking.logs",
        "logs update-42 -f",
        (("job_id",), {"nargs": "?", "metavar": "JOB", "help": "its id; the newest if not given"}),
        (("-f", "--follow"), {"action": "store_true", "help": "go on with what is added"}),
        (("--lines",), {"type": int, "metavar": "N", "help": "only the last ones"}),
    ),
    "next": _Command("show what the agent does next, and ask the service", "checking.next_job", "next"),
    "validate": _Command(
        "check the form of a job document", "documents.validate", "validate job.json", DOCUMENT
    ),
    "plan": _Command(
        "show what a document would do here, without doing it", "documents.plan", "plan job.json", DOCUMENT
    ),
    "run-document": _Command(
        "run a document here, without any service",
        "documents.run_document",
        "run-document job.json --dry-run",
        DOCUMENT,
        (("--dry-run",), {"action": "store_true", "help": "only plan"}),
    ),
    "handlers": _Command(
        "list the handlers and whether they may run; check fails if one may not",
        "checking.handlers",
        "handlers check",
        (("what",), {"choices": ("list", "check"), "metavar": "list|check", "help": "print, or also fail"}),
    ),
    "hold": _Command(
        "begin no new job for a while",
        "running.hold",
        'hold --for 2h --reason "replacing the power supply"',
        (
            ("--for",),
            {"dest": "duration", "required": True, "metavar": "TIME", "help": "such as 30m, 2h, 1d"},
        ),
        REASON,
    ),
    "unhold": _Command("end a hold", "running.unhold", "unhold"),
    "cancel": _Command(
        "end the job in hand, which is reported as failed",
        "running.cancel",
        'cancel update-42 --reason "wrong firmware"',
        (("job_id",), {"nargs": "?", "metavar": "JOB", "help": "its id, to be sure"}),
        (("--reason",), {"default": "no reason given", "metavar": "TEXT", "help": "why; operators see it"}),
    ),
    "doctor": _Command(
        "check this device and its way to the service", "checking.doctor", "doctor --offline", OFFLINE
    ),
    "support-bundle": _Command(
        "collect what helpers need, without secrets",
        "checking.support_bundle",
        "support-bundle --output /tmp/gateway-1.tar.gz",
        (("--output",), {"metavar": "FILE", "help": "where to; a name with the time if not given"}),
        OFFLINE,
    ),
    "config": _Command(
        "show the settings",
        "looking.config",
        "config show --effective --origin",
        (("what",), {"choices": ("show",), "metavar": "show", "help": "print them"}),
        (("--effective",), {"action": "store_true", "help": "also those left at their default"}),
        (("--origin",), {"action": "store_true", "help": "also where each comes from"}),
    ),
}


class _Parser(argparse.ArgumentParser):
    """Errors in one line, with the nearest known option for one that is not known."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)  # noqa: T201 - the command line
        raise SystemExit(UsageError.exit_code)

    def print_help(self, file: Any = None) -> None:
        # The library's own keeps quiet about a disk that is full.
        print(self.format_help(), end="", file=file, flush=True)

    def known_options(self) -> list[str]:
        return [option for action in self._actions for option in action.option_strings]


class _Version(argparse.Action):
    """Looks the version up only when asked: that takes longer than most commands."""

    def __call__(self, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

        try:
            print(f"thingjobs-agent {version('thingjobs')}", flush=True)  # noqa: T201 - the command line
        except PackageNotFoundError:
            print("thingjobs-agent, not installed", flush=True)  # noqa: T201 - the command line
        raise SystemExit(EXIT_OK)


def parsed(arguments: list[str]) -> SimpleNamespace:
    """Return the options, and as `module` and `function` what does the command."""
    parser, commands = _parser(arguments)
    name = arguments[0] if arguments else "-"
    if not name.startswith("-") and name not in COMMANDS:
        parser.error(f"unknown command {name!a}" + _meant(name, COMMANDS))
    options, unknown = parser.parse_known_args(arguments, SimpleNamespace())
    if unknown:
        command = commands[options.command]
        given = unknown[0].partition("=")[0]
        command.error(f"unknown option {unknown[0]}" + _meant(given, command.known_options()))
    chosen = COMMANDS[options.command]
    options.module, options.function = chosen.module, chosen.function
    return options


def _meant(given: str, known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 - only for slips

    close = difflib.get_close_matches(given, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _parser(arguments: list[str]) -> tuple[_Parser, dict[str, _Parser]]:
    parser = _Parser(
        prog="thingjobs-agent",
        description="Runs jobs on this device and reports what became of them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    made = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    parsers: dict[str, _Parser] = {}
    for name, command in COMMANDS.items():
        each = made.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=f"example: thingjobs-agent {command.example}; exit codes: thingjobs-agent --help",
            allow_abbrev=False,
        )
        parsers[name] = each
        if name not in arguments:
            # Its options are not needed, and with all of them the agent would be a megabyte larger.
            continue
        for names, how in command.arguments:
            each.add_argument(*names, **how)
        if name != "run":
            each.add_argument("--json", action="store_true", help="print JSON")
        each.add_argument("--config", metavar="FILE", help="settings file (TOML)")
        _add_settings(each, are_shown=name == "run")
    return parser, parsers


def _add_settings(parser: _Parser, *, are_shown: bool) -> None:
    for field in dataclasses.fields(Settings):
        if not field.metadata["secret"]:
            # Of little interest elsewhere, but all commands take them.
            is_shown = are_shown or field.name in ("state_dir", "handler_dir")
            parser.add_argument(
                "--" + field.name.replace("_", "-"),
                dest=field.name,
                metavar="VALUE",
                help=field.metadata["help"] if is_shown else argparse.SUPPRESS,
            )
