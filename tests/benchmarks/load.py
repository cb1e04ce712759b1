"""Compiles and runs the load generator, load.c, and reads its result."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.support import find_program

HERE = Path(__file__).parent
# Connecting some thousand clients takes a while; what takes longer hangs.
CONNECT_TIME_S_MAX = 60


class BenchmarkError(Exception):
    """The benchmark cannot run or its result means nothing; the message is for the person who started it."""


class Result(msgspec.Struct, frozen=True):
    """What the load generator saw. Rates are per second, processor shares in percent of one core."""

    mode: str
    devices: int
    window: int
    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    accepted: int
    rejected: int
    empty: int
    stray: int
    dead: int
    connect_s: float
    own_cpu: float
    machine_cpu: float
    cpu: list[float]

    @property
    def other_cpu(self) -> float:
        """What programs that are not part of the measurement took."""
        return max(0.0, self.machine_cpu - self.own_cpu - sum(self.cpu))

    def complaints(self) -> list[str]:
        """What makes the figure worthless: requests refused, answered twice, or lost with a connection."""
        return [
            f"{count} {what}"
            for count, what in [
                (self.rejected, "requests were rejected"),
                (self.empty, "devices had no job left"),
                (self.stray, "replies belonged to no outstanding request"),
                (self.dead, "connections were lost"),
                (int(self.accepted == 0), "answer is the least that was expected"),
            ]
            if count
        ]


def build(folder: Path) -> Path:
    """Compiles the load generator into the folder and returns the program."""
    compiler = find_program("gcc") or find_program("cc")
    if compiler is None:
        raise BenchmarkError("no C compiler is installed; install one with: apt-get install gcc libc6-dev")
    program = folder / "load"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(HERE / "load.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stderr:
        raise BenchmarkError(f"load.c does not compile cleanly: {done.stderr.strip()}")
    return program


def run(program: Path, mode: str, port: int, *options: str, seconds: int, pids: Sequence[int] = ()) -> Result:
    """Runs the load generator to its end. `pids` are the programs whose use of the processor is wanted."""
    command = [str(program), mode, str(port), "-t", str(seconds), *options]
    if pids:
        command += ["-c", ",".join(map(str, pids))]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds + CONNECT_TIME_S_MAX
    )
    if done.returncode != 0:
        raise BenchmarkError(f"the load generator failed: {done.stderr.strip()}")
    return msgspec.json.decode(done.stdout, type=Result)
