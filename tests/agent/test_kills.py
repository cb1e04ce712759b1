"""An agent that is killed again and again, at random times and at random calls to the disk; real processes.

What must hold is promise 9: no job runs twice unless its document says so, none is forgotten, and what is
reported is what happened. The seed is in the test's name.
"""

from __future__ import annotations

import asyncio
import collections
import random
import signal

import pytest

from tests.agent.fake_service import Execution
from tests.agent.harness import document
from tests.agent.programs import Agent, Served
from thingjobs_protocol.status import TERMINAL
from thingjobs_protocol.status import JobExecutionStatus as Status

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]

# Dies at the n-th call that changes the disk, or at none if n is 0.
PROGRAM = """
import os, sys
left = int(sys.argv.pop(1))
def counted(real):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return real(*arguments, **options)
    return call
for name in ("write", "fsync", "rename"):
    setattr(os, name, counted(getattr(os, name)))
import thingjobs_agent.cli
thingjobs_agent.cli.run()
"""
HANDLER = """
echo "$THINGJOBS_JOB_ID {name} begun" >>{runs}
sleep 0.0$2
echo "$THINGJOBS_JOB_ID {name} done" >>{runs}
exit $3
"""
CALLS_MAX = 16
"""A job of three steps makes some forty; a life begins with what is left of one."""
SECONDS_MAX = 0.6
JOBS_AHEAD = 2


class Trial:
    """Jobs of three steps, some of which fail on purpose, and what their handlers wrote down."""

    def __init__(self, agent: Agent, served: Served, seed: int) -> None:
        self.random = random.Random(seed)
        self.agent = agent
        self.served = served
        self.runs = agent.directory / "runs"
        self.runs.touch()
        for name in ("a", "b", "c"):
            agent.handler(f"{name}.sh", HANDLER.format(name=name, runs=self.runs))

    async def queue(self) -> None:
        """Keep a few jobs ahead of the agent."""
        executions = self.served.service.executions
        while sum(each.status not in TERMINAL for each in executions) < JOBS_AHEAD:
            value = document(
                "a.sh", "b.sh", "c.sh", onRestart=self.random.choice(["fail", "fail", "restart", "resume"])
            )
            for each in value["steps"]:
                status = self.random.choice([0, 0, 0, 0, 0, 0, 0, 3])
                each["action"]["input"]["args"] = [str(self.random.randint(0, 9)), str(status)]
            await self.served.publish(self.served.service.queue(f"J{len(executions) + 1}", value))

    async def kill(self) -> None:
        """One life of the agent, and its sudden end."""
        await self.queue()
        is_timed = self.random.random() < 0.5
        calls = 0 if is_timed else self.random.randint(1, CALLS_MAX)
        self.agent.program = ["-c", PROGRAM, str(calls)]
        self.agent.start("--restarts-max", "100")
        process = self.agent.process
        assert process is not None
        try:
            seconds = 0.15 + self.random.random() * SECONDS_MAX if is_timed else 3.0
            await asyncio.wait_for(asyncio.to_thread(process.wait), seconds)
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait)
        self.agent.process = None
        assert process.returncode == -signal.SIGKILL, self.agent.log.read_text()[-2000:]

    async def settle(self) -> None:
        """Let a last agent bring everything to its end."""
        self.agent.program = ["-m", "thingjobs_agent"]
        self.agent.start("--restarts-max", "100")
        executions = self.served.service.executions
        await self.served.until(lambda: all(each.status in TERMINAL for each in executions), 60)
        # The answer is on its way to the agent, which cleans up then.
        work = self.agent.state_dir / "work"
        await self.served.until(lambda: not list(work.iterdir()))

    def check(self) -> None:
        lines = [line.split() for line in self.runs.read_text().splitlines()]
        begun = collections.Counter((job_id, name) for job_id, name, what in lines if what == "begun")
        done = {(job_id, name) for job_id, name, what in lines if what == "done"}
        # However often it died, it left little behind.
        left = [path for path in self.agent.state_dir.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in left) < 1_000_000
        for each in self.served.service.executions:
            ends = [status for status, _ in each.history if status in TERMINAL]
            assert len(ends) == 1, each
            _check_result(each, done)
            if each.document["onRestart"] == "fail":
                assert all(begun[each.job_id, name] <= 1 for name in "abc"), (each, begun)


def _check_result(execution: Execution, done: set[tuple[str, str]]) -> None:
    reason = (execution.details or {})["reason"]
    statuses = [each["action"]["input"]["args"][1] for each in execution.document["steps"]]
    names = [name for name in "abc" if (execution.job_id, name) in done]
    if execution.status is Status.SUCCEEDED:
        assert (statuses, names) == (["0"] * 3, ["a", "b", "c"])
    elif "exited with status 3" in reason:
        assert "3" in statuses
        assert "abc"[statuses.index("3")] in names
    else:
        assert reason.startswith("interrupted by restart"), reason


async def tried(agent: Agent, served: Served, *, seed: int, kills: int) -> None:
    trial = Trial(agent, served, seed)
    for _ in range(kills):
        await trial.kill()
    await trial.settle()
    trial.check()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1])
async def test_fifty_kills_leave_true_results(agent: Agent, served: Served, seed: int) -> None:
    """Issue 6, promise 9."""
    await tried(agent, served, seed=seed, kills=50)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 22))
async def test_a_thousand_kills_leave_true_results(agent: Agent, served: Served, seed: int) -> None:
    """As above, twenty times with other seeds."""
    await tried(agent, served, seed=seed, kills=50)
