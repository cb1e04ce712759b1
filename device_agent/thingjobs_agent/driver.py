"""Carries the machine's commands out and brings it its inputs: one loop, one place that waits, one clock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from thingjobs_agent import handlers, leftovers
from thingjobs_agent.agent import Agent
from thingjobs_agent.checkpoint import WORK_NAME, Store
from thingjobs_agent.client import MqttClient, end
from thingjobs_agent.config import Broker, Settings, absolute
from thingjobs_agent.environment import handler_environment
from thingjobs_agent.errors import StateDirectoryError
from thingjobs_agent.events import (
    CheckHandlers,
    Command,
    FinishWork,
    HandlersChecked,
    Input,
    Note,
    Send,
    ShutDown,
    StartStep,
    StepExited,
    StepProgressed,
    Stop,
    StopStep,
    StoreCheckpoint,
)
from thingjobs_agent.process import HandlerProcess
from thingjobs_agent.work import Checkpoint, Identity

STORE_RETRY_SECONDS: Final = 10.0
"""A full disk may be emptied by somebody; until then the job waits."""


class Driver:
    """One agent, from start to stop."""

    def __init__(self, settings: Settings, broker: Broker, store: Store, log: Any) -> None:
        """Take a store whose lock is held."""
        self._settings = settings
        self._store = store
        self._log = log
        self._handler_dir = absolute(settings.handler_dir)
        self._work_dir = store.directory / WORK_NAME
        self._inputs: asyncio.Queue[Input | BaseException] = asyncio.Queue()
        self._shut_down = asyncio.Event()
        self._is_stopped = False
        self._process: HandlerProcess | None = None
        self._step: asyncio.Task[None] | None = None
        self._client = MqttClient(
            broker,
            settings.thing,
            root=settings.topic_root,
            keepalive_seconds=settings.keepalive_seconds,
            is_session_persistent=settings.persistent_session,
            deliver=self._inputs.put_nowait,
            jitter=random.random,
            log=log,
        )

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            StateDirectoryError: the checkpoint cannot be read, or could not be written when it was time to
            stop.

        """
        agent = self._start_agent()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_to_stop, number.name)
        client = asyncio.create_task(self._client.run())
        client.add_done_callback(self._task_ended)
        try:
            await self._carry_out(agent.start())
            while not self._is_stopped:
                await self._carry_out(await self._next(agent))
        finally:
            if self._process is not None:
                # Only a fault of the agent itself leads here with a handler running.
                leftovers.kill(self._store.directory)
            await end(client)

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
        killed = leftovers.kill(self._store.directory)
        if killed:
            self._log.warning(
                "Killed what an earlier life left running", action="leftovers_killed", processes=killed
            )
        self._clear_work(None if loaded.checkpoint is None else loaded.checkpoint.identity)
        return Agent(
            limits=self._settings.limits(),
            token_prefix=os.urandom(6).hex(),
            jitter=random.random,
            checkpoint=loaded.checkpoint,
            is_checkpoint_lost=loaded.fault is not None,
        )

    async def _next(self, agent: Agent) -> list[Command]:
        """Wait for an input or a deadline, whichever is first, and ask the machine."""
        deadline_ms = agent.next_deadline_ms()
        if deadline_ms is not None and deadline_ms <= now_ms():
            return agent.fire_timers(now_ms())
        wait_seconds = None if deadline_ms is None else (deadline_ms - now_ms()) / 1000
        try:
            given = await asyncio.wait_for(self._inputs.get(), wait_seconds)
        except TimeoutError:
            return agent.fire_timers(max(now_ms(), deadline_ms or 0))
        if isinstance(given, BaseException):
            raise given
        return agent.handle(given, now_ms())

    async def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case StoreCheckpoint():
                    await self._store_checkpoint(command.checkpoint)
                case Send():
                    self._client.send(command)
                case Note():
                    self._write_log(command)
                case CheckHandlers():
                    found = handlers.refusals(command.document, self._handler_dir)
                    self._inputs.put_nowait(HandlersChecked(found))
                case StartStep():
                    self._start_step(command)
                case StopStep():
                    self._stop_step(command)
                case FinishWork():
                    self._clear_work(None)
                case Stop():
                    self._is_stopped = True

    def _write_log(self, note: Note) -> None:
        log: Callable[..., Any] = getattr(self._log, note.level)
        log(note.sentence, action=note.action, **note.fields)

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
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._shut_down.wait(), STORE_RETRY_SECONDS)
            if self._shut_down.is_set():
                raise StateDirectoryError(f"{reason}; free space or repair the disk")

    # -- handlers

    def _start_step(self, command: StartStep) -> None:
        program = handlers.resolve(command.step, self._handler_dir)
        if isinstance(program, handlers.Refusal):
            self._inputs.put_nowait(StepExited(refusal=program.reason))
            return
        try:
            directory = self._step_directory(command.identity, program.run_as)
        except OSError as error:
            refusal = f"no working directory for the handler: {error.strerror}"
            self._inputs.put_nowait(StepExited(refusal=refusal))
            return
        progress_path = directory / f"progress-{command.label.partition('/')[0]}"
        self._process = HandlerProcess(
            program,
            environment=handler_environment(
                command,
                thing_name=self._settings.thing,
                state_dir=self._store.directory,
                progress_path=progress_path,
                run_as=program.run_as,
                own=os.environ,
                allowed=self._settings.environment,
            ),
            directory=directory,
            progress_path=progress_path,
            on_progress=lambda details: self._inputs.put_nowait(StepProgressed(details)),
        )
        self._log.info(
            "Starting a handler", action="step_started", job_id=command.identity.job_id, step=command.label
        )
        is_temporary = program.run_as is not None
        self._step = asyncio.create_task(self._run_step(self._process, directory if is_temporary else None))
        self._step.add_done_callback(self._task_ended)

    async def _run_step(self, process: HandlerProcess, temporary: Path | None) -> None:
        ended = await process.run()
        if process.is_stop_asked:
            # Whoever left the group with a session of its own is found by its environment.
            leftovers.kill(self._store.directory)
        if temporary is not None:
            _remove(temporary)
        self._process = None
        self._inputs.put_nowait(ended)

    def _stop_step(self, command: StopStep) -> None:
        if self._process is not None:
            self._process.stop(command.grace_ms / 1000)

    def _step_directory(self, identity: Identity, run_as: handlers.RunAs | None) -> Path:
        """Return the working directory: one for all steps of a job, or one for another user alone."""
        if run_as is not None:
            import tempfile  # noqa: PLC0415 - rarely needed, and not small

            # The state directory is closed to other users.
            directory = Path(tempfile.mkdtemp(prefix="thingjobs-"))
            os.chown(directory, run_as.uid, run_as.gid)
            return directory
        directory = self._work_dir / f"{identity.job_id}-{identity.execution_number}"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory

    def _clear_work(self, kept: Identity | None) -> None:
        """Remove the working files of jobs that are over."""
        kept_name = None if kept is None else f"{kept.job_id}-{kept.execution_number}"
        with contextlib.suppress(FileNotFoundError):
            for entry in self._work_dir.iterdir():
                if entry.name != kept_name:
                    _remove(entry)

    # -- the outside

    def _ask_to_stop(self, signal_name: str) -> None:
        self._log.info("Stopping", action="stopping", signal=signal_name)
        self._shut_down.set()
        self._inputs.put_nowait(ShutDown())

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Pass a fault of a task on to the loop; nothing is swallowed."""
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._inputs.put_nowait(fault)


def now_ms() -> int:
    """Return a clock that does not go backwards, whatever happens to the time of day."""
    return time.monotonic_ns() // 1_000_000


def _remove(directory: Path) -> None:
    import shutil  # noqa: PLC0415 - not needed while idle

    shutil.rmtree(directory, ignore_errors=True)
