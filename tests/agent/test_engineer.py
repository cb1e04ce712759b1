"""The engineer's commands beside a running agent, and jobs that restart the agent or reboot the device."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import msgspec
import pytest

from tests.agent.harness import document, reboot_step, step
from tests.agent.programs import Agent, Served, is_alive
from thingjobs_agent.checkpoint import Store
from thingjobs_protocol.status import JobExecutionStatus as Status

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]

WAITING = "echo begun; touch ../../../ready; while [ ! -e ../../../go ]; do sleep 0.05; done; echo done\n"


async def test_hold_keeps_new_jobs_waiting_until_unhold(agent: Agent, served: Served) -> None:
    """Issue 6: "not now", and operators see it on the job."""
    agent.handler("a.sh", "exit 0\n")
    agent.start()
    await served.until(lambda: bool(served.service.requests))
    held = await asyncio.to_thread(agent.run, "hold", "--for", "2h", "--reason", "new power supply")
    assert "In force now" in held.stdout
    await served.publish(served.service.queue("J1", document("a.sh")))
    await served.until(lambda: "new power supply" in (served.service.of("J1").details or {}).get("hold", ""))
    shown = await asyncio.to_thread(agent.run, "status", "--json")
    assert msgspec.json.decode(shown.stdout)["job"]["phase"] == "held"
    await asyncio.to_thread(agent.run, "unhold")
    assert (await served.until_over("J1"))[0] is Status.SUCCEEDED
    history = await asyncio.to_thread(agent.run, "history", "--json")
    (entry,) = msgspec.json.decode(history.stdout)
    assert (entry["job_id"], entry["status"], entry["ending"]) == (
        "J1",
        "SUCCEEDED",
        "accepted by the service",
    )
    assert 0 <= entry["ended_at"] - entry["began_at"] < 60


async def test_cancel_stops_the_handler_and_is_reported(tmp_path: Path, agent: Agent, served: Served) -> None:
    """Issue 6: within 2 s; the next job runs."""
    agent.handler("a.sh", f"echo $$ >../../../pid; {WAITING}")
    agent.handler("b.sh", "exit 0\n")
    agent.start()
    await served.publish(served.service.queue("J1", document("a.sh")))
    await served.until((tmp_path / "ready").exists)
    began = time.monotonic()
    canceled = await asyncio.to_thread(agent.run, "cancel", "--reason", "it smokes")
    assert canceled.returncode == 0
    status, details = await served.until_over("J1")
    assert time.monotonic() - began < 4
    assert (status, details["reason"]) == (
        Status.FAILED,
        "step 1/1 a was stopped: canceled at the device: it smokes",
    )
    assert not is_alive(int((tmp_path / "pid").read_text()))
    await served.publish(served.service.queue("J2", document("b.sh")))
    assert (await served.until_over("J2"))[0] is Status.SUCCEEDED


async def test_logs_are_followed_while_the_handler_runs(tmp_path: Path, agent: Agent, served: Served) -> None:
    """What it prints is there at once; interrupted, the command ends with 0."""
    agent.handler("a.sh", WAITING)
    agent.start()
    await served.publish(served.service.queue("J1", document("a.sh")))
    await served.until((tmp_path / "ready").exists)
    follower = agent.follow("logs", "-f")
    assert follower.stdout is not None
    seen: list[str] = []
    while "begun\n" not in seen:
        seen.append(await asyncio.to_thread(follower.stdout.readline))
    (tmp_path / "go").touch()
    while "done\n" not in seen:
        seen.append(await asyncio.to_thread(follower.stdout.readline))
    assert " step 1/1 a\n" in seen[0]
    assert (await asyncio.to_thread(follower.stdout.readline)).endswith("exit status 0\n")
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 0
    follower.stdout.close()
    assert (await served.until_over("J1"))[0] is Status.SUCCEEDED


async def test_doctor_and_next_ask_beside_the_running_agent(agent: Agent, served: Served) -> None:
    """They leave the agent's connection alone."""
    agent.handler("a.sh", "exit 0\n")
    agent.start()
    await served.until(lambda: bool(served.service.requests))
    found = await asyncio.to_thread(agent.run, "doctor")
    assert found.returncode == 0, found.stdout
    for line in (
        "OK    connect: as press-7, client id press-7-cli-",
        "OK    service: answers in",
        "clock skew",
    ):
        assert line in found.stdout
    assert found.stdout.count("OK    subscribe: ") == 8
    nothing = await asyncio.to_thread(agent.run, "next")
    assert nothing.stdout.endswith("The service has no job for this device.\n")
    assert agent.log.read_text().count("broker_connected") == 1


async def test_next_shows_what_the_service_would_hand_out(agent: Agent, served: Served) -> None:
    """Without taking it: the agent is stopped and the job stays queued."""
    served.service.queue("J1", document("a.sh"))
    shown = await asyncio.to_thread(agent.run, "next")
    assert shown.stdout == "The service would hand out job J1, execution 1, QUEUED.\n"
    assert served.service.of("J1").status is Status.QUEUED


IMPATIENT = """
import thingjobs_agent.cli, thingjobs_agent.inquiry
thingjobs_agent.inquiry.ANSWER_SECONDS_MAX = 0.5
thingjobs_agent.cli.run()
"""


async def test_doctor_misses_the_service(agent: Agent) -> None:
    """The broker is there, the service is not: exit code 1, with what to look at."""
    agent.program = ["-c", IMPATIENT]
    found = await asyncio.to_thread(agent.run, "doctor")
    assert found.returncode == 1
    assert "FAIL  service: no answer\n      fix: check that the jobs service runs" in found.stdout


async def test_job_may_restart_the_agent(tmp_path: Path, agent: Agent, served: Served) -> None:
    """The same process begins anew, and the job goes on with its next step."""
    agent.handler("update.sh", 'echo once >>../../../updated; echo restart >"$THINGJOBS_THEN_FILE"\n')
    agent.handler("b.sh", "echo after\n")
    agent.start()
    await served.publish(served.service.queue("J1", document("update.sh", "b.sh", includeStdOut=True)))
    status, details = await served.until_over("J1")
    assert (status, details["stdout"]) == (Status.SUCCEEDED, "after")
    assert (tmp_path / "updated").read_text() == "once\n"
    assert agent.log.read_text().count("broker_connected") == 2
    assert agent.process is not None
    assert agent.process.poll() is None
    assert Store(agent.state_dir).holder() == agent.process.pid


# Told to look as soon as it can be found, long before it looks.
EARLY = """
import os, signal
from thingjobs_agent.checkpoint import Store
real = Store.prepare
def prepare(self):
    real(self)
    os.kill(self.holder() or os.getpid(), signal.SIGUSR1)
Store.prepare = prepare
import thingjobs_agent.cli
thingjobs_agent.cli.run()
"""


async def test_agent_that_is_told_to_look_while_it_starts_goes_on(agent: Agent, served: Served) -> None:
    """The signal would end it otherwise, and hold would kill what it is to hold."""
    agent.handler("a.sh", "exit 0\n")
    agent.program = ["-c", EARLY]
    agent.start()
    await served.publish(served.service.queue("J1", document("a.sh")))
    assert (await served.until_over("J1"))[0] is Status.SUCCEEDED


# The kernel's boot_id as a file, and a reboot that changes it and takes the agent's power away.
PROGRAM = """
import pathlib, sys
import thingjobs_agent.driver as driver
driver.BOOT_ID_PATH = pathlib.Path({boot_id!r})
import thingjobs_agent.cli
thingjobs_agent.cli.run()
"""
REBOOT = "#!/bin/sh\necho asked >>{asked}\n{then}\nkill -9 $(cat {lock})\nsleep 60\n"


@pytest.mark.parametrize("is_real", [True, False])
async def test_reboot_step(tmp_path: Path, agent: Agent, served: Served, is_real: bool) -> None:
    """Issue 6: the job goes on after a reboot that boot_id proves, and ends as FAILED in a boot loop."""
    boot_id, asked, lock = tmp_path / "boot_id", tmp_path / "asked", agent.state_dir / "lock"
    boot_id.write_text("first\n")
    then = f"echo next >{boot_id}" if is_real else ""
    reboot = tmp_path / "reboot.sh"
    reboot.write_text(REBOOT.format(asked=asked, then=then, lock=lock))
    reboot.chmod(0o755)
    agent.program = ["-c", PROGRAM.format(boot_id=str(boot_id))]
    agent.handler("a.sh", "echo before\n")
    agent.handler("b.sh", "echo after\n")
    value = {"version": "1.0", "includeStdOut": True, "steps": [step("a.sh"), reboot_step(), step("b.sh")]}
    served.service.queue("J1", value)
    options = ("--reboot-command", str(reboot), "--reboots-max", "2")
    for _ in range(1 if is_real else 2):
        agent.start(*options)
        assert agent.process is not None
        assert await asyncio.to_thread(agent.process.wait, 20) == -signal.SIGKILL
    agent.start(*options)
    status, details = await served.until_over("J1")
    if is_real:
        assert (status, details["stdout"]) == (Status.SUCCEEDED, "before after")
        assert asked.read_text() == "asked\n"
    else:
        assert (status, asked.read_text()) == (Status.FAILED, "asked\nasked\n")
        assert "asked 2 times for a reboot, and the device did not reboot" in details["reason"]


async def test_reboot_command_that_fails_fails_the_step(agent: Agent, served: Served) -> None:
    """With its status and what it printed."""
    served.service.queue("J1", {"version": "1.0", "steps": [reboot_step()]})
    agent.start("--reboot-command", "/bin/sh,-c,echo no >&2; exit 3")
    status, details = await served.until_over("J1")
    assert status is Status.FAILED
    assert details["reason"].endswith(
        "could not be rebooted: /bin/sh -c echo no >&2; exit 3 exit status 3: no"
    )
