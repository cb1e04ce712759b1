"""Carries out what the machine decides about steps: starts handlers where and as whom they may run, and stops
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from thingjobs_agent import handlers
from thingjobs_agent.checkpoint import WORK_NAME
from thingjobs_agent.document import Document, Step
from thingjobs_agent.environment import handler_environment
from thingjobs_agent.events import (
    HandlersChecked,
    Input,
    StartStep,
    StepExited,
    StepProgressed,
    StopStep,
)
from thingjobs_agent.joblog import JobLog, log_path
from thingjobs_agent.kin import Kin
from thingjobs_agent.local import Local
from thingjobs_agent.logs import Log
from thingjobs_agent.process import Files, HandlerProcess
from thingjobs_agent.redaction import Secrets
from thingjobs_agent.work import Identity

REBOOT_COMMAND_SECONDS_MAX: Final = 60.0


class Steps:
    """The handlers of one agent; at most one runs."""

    def __init__(
        self,
        local: Local,
        state_dir: Path,
        thing_name: str,
        *,
        allowed_environment: Iterable[str],
        secrets: Secrets,
        deliver: Callable[[Input | BaseException], None],
        log: Log,
    ) -> None:
        """Take the rules of the device, and `deliver`, which gets how steps go on and end."""
        self._local = local
        self._state_dir = state_dir
        self._thing_name = thing_name
        self._allowed_environment = tuple(allowed_environment)
        self._secrets = secrets
        self._deliver = deliver
        self._log = log
        self._process: HandlerProcess | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """The process that is waited for here."""
        return () if self._process is None else (self._process.pid,)

    def check(self, document: Document) -> None:
        """Find out which steps may not run."""
        self._deliver(HandlersChecked(handlers.refusals(document, self._local)))

    def start(self, command: StartStep) -> None:
        """Run a handler; it may have changed since it was checked."""
        program = handlers.resolve(command.step, self._local)
        if isinstance(program, handlers.Refusal):
            self._deliver(StepExited(refusal=program.reason))
            return
        try:
            files = self._files(command, program.run_as)
        except OSError as error:
            self._deliver(StepExited(refusal=f"no working directory for the handler: {error.strerror}"))
            return
        environment = handler_environment(
            command,
            thing_name=self._thing_name,
            state_dir=self._state_dir,
            files=files,
            run_as=program.run_as,
            own=os.environ,
            allowed=(*self._allowed_environment, *program.rule.environment),
        )
        log = JobLog(log_path(self._state_dir, command.identity.job_id, command.identity.execution_number))
        log.write(f"--- {_utc()} step {command.label}\n".encode())
        self._process = HandlerProcess(
            program,
            environment=environment,
            files=files,
            kin=Kin(self._state_dir, command.identity),
            secrets=self._secrets,
            on_progress=lambda details: self._deliver(StepProgressed(details)),
            on_output=log.write,
        )
        self._log.info(
            "Starting a handler", action="step_started", job_id=command.identity.job_id, step=command.label
        )
        temporary = None if program.run_as is None else files.directory
        self._task = asyncio.create_task(self._run(self._process, log, temporary))
        self._task.add_done_callback(self._ended)

    def stop(self, command: StopStep) -> None:
        """Stop the handler; its end is delivered as ever."""
        if self._process is not None:
            self._process.stop(command.grace_ms / 1000)

    def reboot(self, step: Step) -> None:
        """Tell the device to go down; only that this fails is delivered."""
        # A handler that asked for it needs no step of its own.
        wish = Step(step.name, type="reboot")
        program = handlers.resolve(wish, self._local)
        if isinstance(program, handlers.Refusal):
            self._deliver(StepExited(refusal=program.reason))
            return
        self._task = asyncio.create_task(self._reboot(program))
        self._task.add_done_callback(self._ended)

    def kill(self) -> None:
        """End what runs at once, without waiting. For a fault of the agent itself."""
        if self._process is not None:
            self._process.kill()

    def clear(self, kept: Identity | None) -> None:
        """Remove the working files of jobs that are over."""
        kept_name = None if kept is None else _directory_name(kept)
        with contextlib.suppress(FileNotFoundError):
            for entry in (self._state_dir / WORK_NAME).iterdir():
                if entry.name != kept_name:
                    remove_tree(entry)

    async def _run(self, process: HandlerProcess, log: JobLog, temporary: Path | None) -> None:
        try:
            ended = await process.run()
            log.write(f"--- {_utc()} {_how(ended)}\n".encode())
        finally:
            log.close()
        if temporary is not None:
            remove_tree(temporary)
        self._process = None
        self._deliver(ended)

    async def _reboot(self, program: handlers.Program) -> None:
        directory = self._state_dir
        self._process = HandlerProcess(
            program,
            environment={"PATH": handlers.PATH_DEFAULT},
            files=Files(directory, directory / "none", directory / "none"),
            kin=Kin(self._state_dir, None),
            secrets=self._secrets,
            on_progress=lambda _: None,
            on_output=lambda _: None,
        )
        asyncio.get_running_loop().call_later(REBOOT_COMMAND_SECONDS_MAX, self._process.stop, 0.0)
        ended = await self._process.run()
        self._process = None
        if ended.exit_status != 0:
            reason = ended.refusal or f"{' '.join(program.argv)} {_how(ended)}: {ended.std_err}"
            self._deliver(StepExited(refusal=f"the device could not be rebooted: {reason}"))

    def _files(self, command: StartStep, run_as: handlers.RunAs | None) -> Files:
        """Return where a step works: one directory for all steps of a job, or one for another user alone."""
        if run_as is not None:
            # The state directory is closed to other users.
            directory = Path(os.environ.get("TMPDIR", "/tmp"), f"thingjobs-{os.urandom(8).hex()}")  # noqa: S108
            directory.mkdir(mode=0o700)
            os.chown(directory, run_as.uid, run_as.gid)
        else:
            directory = self._state_dir / WORK_NAME / _directory_name(command.identity)
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = command.label.partition("/")[0]
        files = Files(directory, directory / f"progress-{number}", directory / f"then-{number}")
        # Of an earlier run of the same step.
        files.then.unlink(missing_ok=True)
        return files

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Pass a fault of a task on; nothing is swallowed."""
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._deliver(fault)


def _directory_name(identity: Identity) -> str:
    return f"{identity.job_id}-{identity.execution_number}"


def _how(ended: StepExited) -> str:
    if ended.refusal is not None:
        return ended.refusal
    if ended.signal_number is not None:
        return f"killed by signal {ended.signal_number}"
    return f"exit status {ended.exit_status}"


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def remove_tree(directory: Path) -> None:
    """Remove what a handler left, as far as that can be done. Works on open directories, so that nobody can
    put a link in the way; shutil does the same, and brings half a megabyte of archives with it.
    """
    # A tree may also be deeper than Python can go.
    with contextlib.suppress(OSError, RecursionError):
        for _, directories, files, descriptor in os.fwalk(directory, topdown=False):
            for name in (*files, *directories):
                with contextlib.suppress(OSError):
                    _remove_entry(name, descriptor)
        directory.rmdir()


def _remove_entry(name: str, descriptor: int) -> None:
    """Remove a file, a link or an empty directory."""
    try:
        os.unlink(name, dir_fd=descriptor)
    except (IsADirectoryError, PermissionError):
        os.rmdir(name, dir_fd=descriptor)
