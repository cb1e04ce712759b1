"""The machine in virtual time: one `Device` has a disk that survives crashes, and an agent that does not.

Commands are carried out as a driver would, up to the point where a test lets the device crash.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.agent.fake_service import THING, FakeService, Published
from thingjobs_agent.agent import Agent
from thingjobs_agent.events import (
    CheckHandlers,
    Command,
    Connected,
    Disconnected,
    HandlersChecked,
    Hold,
    Input,
    Note,
    Reboot,
    Send,
    ShutDown,
    StartStep,
    StepExited,
    Stop,
    StopStep,
    StoreCheckpoint,
)
from thingjobs_agent.inbox import Inbox
from thingjobs_agent.machine.state import Limits
from thingjobs_agent.work import decode_checkpoint, encode_checkpoint
from thingjobs_protocol.codec import encode
from thingjobs_protocol.topics import DEFAULT_ROOT, request_topic


class Crashed(Exception):
    """The power is gone."""


def document(*handlers: str, **members: Any) -> dict[str, Any]:
    """A version 1.0 document with one step for each handler."""
    return {"version": "1.0", "steps": [step(handler) for handler in handlers or ("work.sh",)], **members}


def step(handler: str, **members: Any) -> dict[str, Any]:
    action = {
        "name": handler.partition(".")[0] or "step",
        "type": "runHandler",
        "input": {"handler": handler},
        **members,
    }
    return {"action": action}


def reboot_step(**members: Any) -> dict[str, Any]:
    return {"action": {"name": "Reboot", "type": "reboot", **members}}


def let_others_pass(directory: Path) -> None:
    """Open the way to a directory of pytest's, which are private, for a handler of another user."""
    for each in (directory, *directory.parents):
        mode = each.stat().st_mode
        if not mode & 0o001:
            each.chmod(mode | 0o011)


@dataclasses.dataclass
class Device:
    """One device. `log` holds what happened, one word and its detail, for transcripts."""

    service: FakeService
    limits: Limits = dataclasses.field(default_factory=Limits)
    refusals: tuple[tuple[int, str], ...] = ()
    now_ms: int = 0
    disk: bytes | None = None
    is_disk_lost: bool = False
    lives: int = 0
    is_online: bool = False
    running: StartStep | None = None
    stopping: StopStep | None = None
    has_stopped: bool = False
    commands_until_crash: int | None = None
    is_link_deaf: bool = False
    is_reply_held: bool = False
    held: Published = dataclasses.field(default_factory=list)
    are_handlers_checked: bool = True
    started: list[tuple[str, int, str]] = dataclasses.field(default_factory=list)
    log: list[str] = dataclasses.field(default_factory=list)
    commands: list[Command] = dataclasses.field(default_factory=list)
    jitter: Callable[[], float] = lambda: 0.0
    boots: int = 1
    """How often the device came up; a test lets it reboot by raising this and booting the agent."""
    reboots_asked: int = 0
    hold: Hold | None = None

    def boot(self) -> Device:
        """Begin a life of the agent from what is on disk."""
        self.lives += 1
        self.is_online, self.running, self.stopping, self.has_stopped = False, None, None, False
        self.agent = Agent(
            limits=self.limits,
            token_prefix=f"life{self.lives}",
            jitter=self.jitter,
            checkpoint=None if self.disk is None or self.is_disk_lost else decode_checkpoint(self.disk),
            is_checkpoint_lost=self.is_disk_lost,
            boot_id=f"boot{self.boots}",
        )
        self.is_disk_lost = False
        self.inbox = Inbox(THING, DEFAULT_ROOT)
        self._carry_out(self.agent.start(self.now_ms, self.hold))
        return self

    def connect(self) -> Device:
        self.is_online = True
        return self.give(Connected())

    def disconnect(self) -> Device:
        self.is_online = False
        return self.give(Disconnected())

    def exit(self, status: int = 0, **fields: Any) -> Device:
        """Let the running handler end."""
        assert self.running is not None
        self.running = self.stopping = None
        return self.give(StepExited(exit_status=status, **fields))

    def shut_down(self) -> Device:
        return self.give(ShutDown())

    def give(self, given: Input) -> Device:
        self._carry_out(self.agent.handle(given, self.now_ms))
        return self

    def hear(self, published: Published) -> Device:
        """Deliver messages, if there is a link."""
        for topic, payload in published:
            given = self.inbox.read(topic, payload)
            if given is not None and self.is_online:
                self.give(given)
        return self

    def wait(self, seconds: float) -> Device:
        """Let time pass, firing timers when they are due."""
        end_ms = self.now_ms + int(seconds * 1000)
        while (deadline_ms := self.agent.next_deadline_ms()) is not None and deadline_ms <= end_ms:
            self.now_ms = max(deadline_ms, self.now_ms)
            self._carry_out(self.agent.fire_timers(self.now_ms))
        self.now_ms = end_ms
        return self

    def take_log(self) -> list[str]:
        log, self.log = self.log, []
        return log

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            if self.commands_until_crash is not None and not isinstance(command, Note):
                if self.commands_until_crash == 0:
                    self.commands_until_crash = None
                    raise Crashed
                self.commands_until_crash -= 1
            self.commands.append(command)
            self._carry_out_one(command)

    def _carry_out_one(self, command: Command) -> None:
        match command:
            case StoreCheckpoint(checkpoint):
                self.disk = encode_checkpoint(checkpoint)
                self.log.append(f"store {checkpoint.phase} {checkpoint.job_id} step {checkpoint.step_index}")
            case CheckHandlers() if self.are_handlers_checked:
                self.give(HandlersChecked(self.refusals))
            case StartStep():
                assert self.running is None, "two handlers at once"
                self.running = command
                self.started.append(
                    (command.identity.job_id, command.identity.execution_number, command.label)
                )
                self.log.append(f"start {command.label}")
            case StopStep():
                assert self.running is not None
                self.stopping = command
                self.log.append("stop handler")
            case Reboot():
                self.reboots_asked += 1
                self.log.append("reboot")
            case Stop():
                self.has_stopped = True
                self.log.append("stopped")
            case Send():
                self._send(command)

    def _send(self, command: Send) -> None:
        status = getattr(command.message, "status", "")
        self.log.append(" ".join(part for part in ("send", command.api.value, str(status)) if part))
        if self.is_online and not self.is_link_deaf:
            topic = request_topic(command.api, THING, command.job_id)
            published = self.service.receive(topic, encode(command.message))
            if self.is_reply_held:
                self.held += published
            else:
                self.hear(published)
