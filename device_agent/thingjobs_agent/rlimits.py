"""Starts a handler, and sets its resource limits before its first instruction.

A handler with limits begins as a shell that waits for a line; the limits are set from outside, and then the
shell becomes the handler. There is no moment without limits, and no Python code runs between fork and exec.
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from thingjobs_agent.handlers import Program
from thingjobs_agent.local import Rule

MIB: Final = 1024 * 1024
_GATE: Final = ("/bin/sh", "-c", 'read -r _; exec "$0" "$@" </dev/null')


def start(program: Program, environment: Mapping[str, str], directory: Path) -> subprocess.Popen[bytes]:
    """Start a program, in a session of its own, with pipes for its output.

    Raises:
        OSError, ValueError, subprocess.SubprocessError: it cannot be started; nothing runs.

    """
    limits = limits_of(program.rule)
    run_as = program.run_as
    process = subprocess.Popen(
        (*_GATE, *program.argv) if limits else program.argv,
        stdin=subprocess.PIPE if limits else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=directory,
        env=dict(environment),
        start_new_session=True,
        user=None if run_as is None else run_as.uid,
        group=None if run_as is None else run_as.gid,
        extra_groups=None if run_as is None else run_as.groups,
        umask=0o022,
    )
    if process.stdin is not None:
        _open_gate(process, limits)
    return process


def limits_of(rule: Rule) -> dict[int, int]:
    """Return the limits of a rule in the kernel's units: seconds, bytes, processes."""
    limits = {
        resource.RLIMIT_CPU: rule.cpu_seconds,
        resource.RLIMIT_AS: None if rule.memory_mib is None else rule.memory_mib * MIB,
        resource.RLIMIT_NPROC: rule.processes,
        resource.RLIMIT_FSIZE: None if rule.file_mib is None else rule.file_mib * MIB,
    }
    return {kind: limit for kind, limit in limits.items() if limit is not None}


def _open_gate(process: subprocess.Popen[bytes], limits: dict[int, int]) -> None:
    assert process.stdin is not None
    try:
        for kind, limit in limits.items():
            # A second more until SIGKILL, for who wants to clean up at SIGXCPU.
            hard = limit + 1 if kind == resource.RLIMIT_CPU else limit
            _, hard_now = resource.prlimit(process.pid, kind)
            if hard_now != resource.RLIM_INFINITY:
                hard, limit = min(hard, hard_now), min(limit, hard_now)  # noqa: PLW2901 - never above ours
            resource.prlimit(process.pid, kind, (limit, hard))
        process.stdin.write(b"\n")
    except OSError:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        raise
    finally:
        process.stdin.close()
