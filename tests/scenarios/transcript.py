"""A small interpreter: reads a transcript, carries out its commands, and tells what was sent.

A file is a chapter. `=== C01 title` opens a case in a fresh world with the thing T. `# ...` is for the
reader. A line `> command` is carried out; the lines below it are what it must print. The commands:

    device THING get|start-next|JOB/get|JOB/update PAYLOAD   a device's request
    control OPERATION PAYLOAD        a control-plane request
    job JOB [MEMBERS]                CreateJob for T with a small document, and with further members
    jobs JOB JOB ...                 the same several times
    things THING ...                 registers more things, silently
    given COMMAND                    carries it out, wants it accepted, prints nothing
    clock +90s|+2m|+500ms            lets time pass; timers fire when they are due
    restart [+5m]                    recovers from the journal, after an outage; the state must be as it was
    group GROUP [THING ...]          a thing group with these members, silently
    join|leave THING GROUP           a thing joins or leaves a group
    raw TOPIC PAYLOAD                anything at all on a topic of devices
    executions THING                 status and version of all its executions, oldest first

Every message is one line: its topic and its JSON. Times are shown relative to the start: T+5 is five seconds
after it as an integer of seconds, T+5.0 a number with a fraction, T+5000ms milliseconds. In payloads
@pairs(COUNT) and @pairs(COUNT,KEY_LENGTH,VALUE_LENGTH) stand for that many members, @text(LENGTH) for a text.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.broker.core.groups import GroupWorld
from tests.broker.core.world import START_S, Sent, World, chain, picture

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
TIMES = {"timestamp", "queuedAt", "startedAt", "lastUpdatedAt", "createdAt", "completedAt", "at"}


class Block(NamedTuple):
    """A command with what it must print, or a line for the reader."""

    line: str
    expected: list[str]

    @property
    def is_command(self) -> bool:
        return self.line.startswith("> ")


class Case(NamedTuple):
    """One case of a chapter; `blocks` begin with its heading."""

    case_id: str
    title: str
    blocks: list[Block]

    @property
    def text(self) -> str:
        """The case as it stands in the file."""
        return _text(self.blocks)


def read_cases(path: Path) -> Iterator[Case]:
    """The cases of a chapter, in order."""
    blocks: list[Block] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), "=== end"]:
        if line.startswith("=== "):
            if blocks and blocks[0].line.startswith("=== "):
                _, case_id, title = blocks[0].line.split(" ", 2)
                yield Case(case_id, title, blocks)
            blocks = [Block(line, [])]
        elif blocks and blocks[-1].is_command and line and not line.startswith(("> ", "# ")):
            blocks[-1].expected.append(line)
        else:
            blocks.append(Block(line, []))


def perform(case: Case) -> str:
    """Carry out a case in a fresh world; return it with what was really printed."""
    world = GroupWorld("T")
    performed = [
        Block(block.line, execute(world, block.line[2:]) if block.is_command else []) for block in case.blocks
    ]
    assert picture(world.recovered()) == picture(world.state), "recovery would differ"
    return _text(performed)


def _text(blocks: list[Block]) -> str:
    return "\n".join(line for block in blocks for line in (block.line, *block.expected)).rstrip("\n")


def execute(world: GroupWorld, command: str) -> list[str]:
    """Carry out one command; return what it prints."""
    name, _, rest = command.partition(" ")
    if name == "given":
        printed = execute(world, rest)
        refused = [line for line in printed if line.partition(" ")[0].endswith("/rejected")]
        assert not refused, refused
        return []
    return COMMANDS[name](world, rest)


def _device(world: World, rest: str) -> list[str]:
    thing_name, what, payload = (*rest.split(" ", 2), "")[:3]
    return _lines(world.device(thing_name, what, expanded(payload)))


def _control(world: World, rest: str) -> list[str]:
    operation, _, payload = rest.partition(" ")
    return _lines(world.call(operation, expanded(payload)))


def _job(world: World, rest: str) -> list[str]:
    job_id, _, members = rest.partition(" ")
    return _lines(world.create_job(job_id, **json.loads(members or "{}")))


def _jobs(world: World, rest: str) -> list[str]:
    return [line for job_id in rest.split() for line in _job(world, job_id)]


def _things(world: World, rest: str) -> list[str]:
    for thing_name in rest.split():
        world.control("CreateThing", thingName=thing_name)
    return []


def _group(world: GroupWorld, rest: str) -> list[str]:
    world.group(*rest.split())
    return []


def _join(world: GroupWorld, rest: str) -> list[str]:
    return _lines(world.join(*rest.split())) or ["(nothing happens)"]


def _leave(world: GroupWorld, rest: str) -> list[str]:
    return _lines(world.leave(*rest.split())) or ["(nothing happens)"]


def _clock(world: World, rest: str) -> list[str]:
    return _lines(world.advance(duration_ms(rest))) or ["(nothing happens)"]


def _restart(world: World, rest: str) -> list[str]:
    if rest:
        world.pass_unnoticed(duration_ms(rest))
    return _lines(world.restart()) or ["(the same state, nothing happens)"]


def _raw(world: World, rest: str) -> list[str]:
    topic, _, payload = rest.partition(" ")
    return _lines(world.publish(topic, payload)) or ["(not answered)"]


def _executions(world: World, rest: str) -> list[str]:
    executions = [
        execution for newest in world.thing(rest).executions.values() for execution in chain(newest)
    ]
    executions.sort(key=lambda execution: execution.queue_position)
    return [
        f"{one.job_id}#{one.execution_number} {one.status.value} v{one.version_number}" for one in executions
    ] or ["(none)"]


COMMANDS: dict[str, Callable[[GroupWorld, str], list[str]]] = {
    "group": _group,
    "join": _join,
    "leave": _leave,
    "device": _device,
    "control": _control,
    "job": _job,
    "jobs": _jobs,
    "things": _things,
    "clock": _clock,
    "restart": _restart,
    "raw": _raw,
    "executions": _executions,
}


def duration_ms(text: str) -> int:
    """The milliseconds of +90s, +2m or +500ms."""
    found = re.fullmatch(r"\+(\d+)(ms|s|m|h)", text)
    assert found, f"{text!r} is no duration"
    return int(found[1]) * UNITS_MS[found[2]]


def expanded(payload: str) -> str:
    """A payload with @text and @pairs written out."""
    payload = re.sub(r"@text\((\d+)\)", lambda found: "v" * int(found[1]), payload)
    return re.sub(r"@pairs\((\d+)(?:,(\d+),(\d+))?\)", _pairs, payload)


def _pairs(found: re.Match[str]) -> str:
    key_length, value_length = int(found[2] or 2), int(found[3] or 1)
    return ",".join(
        f'"{index:0{key_length}}":"{"v" * value_length}"' for index in range(1, int(found[1]) + 1)
    )


# Printing


def _lines(sent: list[Sent]) -> list[str]:
    return [f"{message.topic} {shown(message.body)}" for message in sent]


def shown(body: dict[str, Any], start_s: int = START_S) -> str:
    """The JSON of a message, with its times relative to the start of the case."""
    text = json.dumps(_relative(body, start_s), separators=(",", ":"), ensure_ascii=False)
    return re.sub(r'"(T[+-][0-9.]+(?:ms)?)"', r"\1", text)


def _relative(value: Any, start_s: int, member: str = "") -> Any:
    """The value with its times relative to the start; unit and type stay visible."""
    match value:
        case dict():
            return {name: _relative(one, start_s, name) for name, one in value.items()}
        case list():
            return [_relative(one, start_s) for one in value]
        case int() if member in TIMES and value >= start_s * 1000:
            return f"T{value - start_s * 1000:+}ms"
        case int() | float() if member in TIMES:
            return f"T{value - start_s:+}"
    return value
