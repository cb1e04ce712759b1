"""Carries the machine's commands out and brings it its inputs: one loop, one place that waits, one clock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from thingjobs_agent import control, kin
from thingjobs_agent.agent import Agent
from thingjobs_agent.checkpoint import Store
from thingjobs_agent.client import end
from thingjobs_agent.config import Config
from thingjobs_agent.errors import StateDirectoryError
from thingjobs_agent.events import (
    CancelAsked,
    CheckHandlers,
    Command,
    FinishWork,
    HoldChanged,
    Input,
    Note,
    Reboot,
    Send,
    ShutDown,
    StartStep,
    Stop,
    StopStep,
    StoreCheckpoint,
)
from thingjobs_agent.facts import facts_of_device
from thingjobs_agent.history import Entry, History
from thingjobs_agent.logs import Log
from thingjobs_agent.notify import Notifier
from thingjobs_agent.redaction import Secrets
from thingjobs_agent.signals import handled
from thingjobs_agent.steps import Steps
from thingjobs_agent.work import Checkpoint, Identity, Phase

STORE_RETRY_SECONDS: Final = 10.0
"""A full disk may be emptied by somebody; until then the job waits."""
LAST_WORDS_SECONDS: Final = 2.0
"""How long a reboot waits for what is still to be sent."""
BOOT_ID_PATH: Final = Path("/proc/sys/kernel/random/boot_id")


class Link(Protocol):
    """The way to the service."""

    def send(self, command: Send) -> None:
        """Send a request, if there is a connection."""

    async def flush(self) -> None:
        """Wait until all that was given to `send` is out."""

    async def run(self) -> None:
        """Keep connected until canceled."""

    def is_turning(self) -> bool:
        """Tell whether `run` still does what it should, connected or not."""


class Driver:
    """One agent, from start to stop."""

    def __init__(
        self,
        config: Config,
        store: Store,
        log: Log,
        link: Callable[[Callable[[Input], None]], Link],
        notifier: Notifier,
    ) -> None:
        """Take a store whose lock is held; `link` makes the way to the service, given where its inputs go."""
        self._config = config
        self._store = store
        self._log = log
        self._inputs: asyncio.Queue[Input | BaseException] = asyncio.Queue()
        self._shut_down = asyncio.Event()
        self._stop: Stop | None = None
        self._began_at: dict[Identity, int] = {}
        self._history = History(store.directory)
        self._notifier = notifier
        self._link = link(self._inputs.put_nowait)
        settings = config.settings
        self._steps = Steps(
            config.local,
            store.directory,
            settings.thing,
            allowed_environment=settings.environment,
            secrets=Secrets(config.secrets),
            deliver=self._inputs.put_nowait,
            log=log,
        )

    async def run(self) -> bool:
        """Run until SIGTERM or SIGINT, or until a job wants the agent to begin anew; tell whether that is so.

        Raises:
            StateDirectoryError: the checkpoint cannot be read, or could not be written when it was time to
            stop.

        """
        kin.become_subreaper()
        agent = self._start_agent()
        with handled(
            {
                signal.SIGTERM: partial(self._ask_to_stop, "SIGTERM"),
                signal.SIGINT: partial(self._ask_to_stop, "SIGINT"),
                control.LOOK_SIGNAL: self._look,
                signal.SIGCHLD: self._reap,
            }
        ):
            return (await self._turn(agent)).is_restart

    async def _turn(self, agent: Agent) -> Stop:
        """Carry out what the machine wants, input by input, until it wants to stop."""
        link = asyncio.create_task(self._link.run())
        link.add_done_callback(self._task_ended)
        try:
            await self._carry_out(agent.start(now_ms(), control.hold_of(self._store.directory, time.time())))
            self._look()
            self._notifier.ready()
            while self._stop is None:
                await self._carry_out(await self._next(agent))
                if self._link.is_turning():
                    self._notifier.turned(agent.state.value)
        finally:
            self._notifier.stopping()
            # Only a fault of the agent itself leads here with a handler running.
            self._steps.kill()
            await end(link)
        return self._stop

    def _start_agent(self) -> Agent:
        """Clean up after an earlier life and take its checkpoint."""
        loaded = self._store.load()
        if loaded.fault is not None:
            self._log.error(
                "The checkpoint could not be read and was set aside",
                action="checkpoint_lost",
                path=str(loaded.path),
                reason=loaded.fault,
            )
        checkpoint = loaded.checkpoint
        self._kill_leftovers(checkpoint, is_lost=loaded.fault is not None)
        self._steps.clear(None if checkpoint is None else checkpoint.identity)
        settings = self._config.settings
        return Agent(
            limits=settings.limits(
                facts_of_device(settings.thing, settings.facts) if settings.evaluate_conditions else None
            ),
            token_prefix=os.urandom(6).hex(),
            jitter=random.random,
            checkpoint=checkpoint,
            is_checkpoint_lost=loaded.fault is not None,
            boot_id=_boot_id(),
        )

    def _kill_leftovers(self, checkpoint: Checkpoint | None, *, is_lost: bool) -> None:
        """Kill what a job in hand left running; what finished jobs started on purpose lives on."""
        in_hand = checkpoint is not None and checkpoint.phase is not Phase.DONE
        if not (in_hand or is_lost):
            return
        identity = None if checkpoint is None else checkpoint.identity
        killed = kin.kill_leftovers(self._store.directory, identity)
        if killed:
            self._log.warning(
                "Killed what an earlier life left running", action="leftovers_killed", processes=killed
            )

    async def _next(self, agent: Agent) -> list[Command]:
        """Wait for an input or a deadline, whichever is first, and ask the machine."""
        deadline_ms = agent.next_deadline_ms()
        if deadline_ms is not None and deadline_ms <= now_ms():
            return agent.fire_timers(now_ms())
        waits = [self._notifier.interval_seconds]
        if deadline_ms is not None:
            waits.append((deadline_ms - now_ms()) / 1000)
        try:
            given = await asyncio.wait_for(
                self._inputs.get(), min((each for each in waits if each is not None), default=None)
            )
        except TimeoutError:
            return agent.fire_timers(now_ms())
        if isinstance(given, BaseException):
            raise given
        return agent.handle(given, now_ms())

    async def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case StoreCheckpoint():
                    await self._store_checkpoint(command.checkpoint)
                case Send():
                    self._link.send(command)
                case Note():
                    self._write_log(command)
                case CheckHandlers():
                    self._steps.check(command.document)
                case StartStep() | StopStep() | Reboot():
                    await self._do_step(command)
                case FinishWork():
                    self._finish(command)
                case Stop():
                    self._stop = command

    async def _do_step(self, command: StartStep | StopStep | Reboot) -> None:
        match command:
            case StartStep():
                self._began_at.setdefault(command.identity, int(time.time()))
                self._steps.start(command)
            case StopStep():
                self._steps.stop(command)
            case Reboot():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._link.flush(), LAST_WORDS_SECONDS)
                self._steps.reboot(command.step)

    def _write_log(self, note: Note) -> None:
        log: Callable[..., Any] = getattr(self._log, note.level)
        log(note.sentence, action=note.action, **note.fields)

    def _finish(self, command: FinishWork) -> None:
        self._steps.clear(None)
        control.drop(self._store.directory, control.CANCEL_NAME)
        entry = Entry(
            *command.identity,
            status=command.report.status,
            status_details=command.report.status_details,
            ending=command.ending,
            ended_at=int(time.time()),
            began_at=self._began_at.pop(command.identity, 0),
        )
        self._history.add(entry)

    async def _store_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Store, however long it takes: what stands behind it in the list must not happen before."""
        while True:
            try:
                self._store.store(checkpoint)
            except OSError as error:
                reason = f"the checkpoint cannot be written to {self._store.path}: {error.strerror}"
            else:
                return
            self._log.error(
                "Cannot go on without the disk; trying again", action="checkpoint_failed", reason=reason
            )
            self._notifier.turned("waiting for the disk")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._shut_down.wait(), STORE_RETRY_SECONDS)
            if self._shut_down.is_set():
                raise StateDirectoryError(f"{reason}; free space or repair the disk")

    # -- the outside

    def _ask_to_stop(self, signal_name: str) -> None:
        self._log.info("Stopping", action="stopping", signal=signal_name)
        self._shut_down.set()
        self._inputs.put_nowait(ShutDown())

    def _look(self) -> None:
        """Take what somebody at the device asked for."""
        directory = self._store.directory
        self._inputs.put_nowait(HoldChanged(control.hold_of(directory, time.time())))
        request = control.read_cancel(directory)
        if request is not None:
            self._log.warning("Canceled at the device", action="cancel_asked", job_id=request.job_id)
            self._inputs.put_nowait(CancelAsked(request.job_id, request.execution_number, request.reason))

    def _reap(self) -> None:
        kin.reap(self._steps.pids)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Pass a fault of a task on to the loop; nothing is swallowed."""
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._inputs.put_nowait(fault)


def now_ms() -> int:
    """Return a clock that does not go backwards, whatever happens to the time of day."""
    return time.monotonic_ns() // 1_000_000


def _boot_id() -> str:
    """Return the kernel's name for the time since it came up; empty where it has none."""
    try:
        return BOOT_ID_PATH.read_text().strip()
    except OSError:
        return ""
