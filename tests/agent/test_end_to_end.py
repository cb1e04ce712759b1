"""A real agent process, Mosquitto, and the small service of `fake_service`, with everything that goes wrong
between.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.agent.authority import Authority
from tests.agent.fake_service import THING, FakeService
from tests.agent.harness import document, let_others_pass, step
from tests.agent.programs import Agent, Mosquitto, Served, connected, contents, is_alive
from tests.support import ROOT, free_port
from thingjobs_protocol.status import TERMINAL
from thingjobs_protocol.status import JobExecutionStatus as Status
from thingjobs_protocol.topics import jobs_base

pytestmark = [pytest.mark.broker, pytest.mark.asyncio]
HANDLERS = ROOT / "device_agent" / "handlers"


async def test_shipped_handlers_make_a_report(agent: Agent, served: Served, tmp_path: Path) -> None:
    """The job of the demo: three steps with progress, then SUCCEEDED with the output."""
    for source in HANDLERS.glob("*.sh"):
        agent.handler(source.name, source.read_text().partition("\n")[2])
    report = str(tmp_path / "report.txt")
    value = document(
        "collect-facts.sh", "write-report.sh", finalStep=step("check-report.sh"), includeStdOut=True
    )
    value["steps"][1]["action"]["input"]["args"] = [report]
    value["finalStep"]["action"]["input"]["args"] = [report]
    served.service.queue("J1", value)
    agent.start()
    status, details = await served.until_over("J1")
    assert (status, details["reason"]) == (Status.SUCCEEDED, "3 steps succeeded")
    assert details["stdout"].startswith("collected 9 facts wrote ")
    assert f"System report of {THING}\njob J1, execution 1\n" in contents(report)
    steps = {(given or {}).get("step") for _, given in served.service.of("J1").history}
    assert "1/3 collect-facts" in steps
    await served.until(lambda: not list((agent.state_dir / "work").iterdir()))


async def test_agent_started_before_its_broker_connects_later(
    tmp_path: Path, broker: Mosquitto, agent: Agent
) -> None:
    """Reconnects for ever with jittered backoff."""
    agent.handler("a.sh", "exit 0\n")
    broker.stop()
    agent.start()
    await asyncio.sleep(1)
    broker.start()
    async with connected(FakeService(), broker.port) as served:
        served.service.queue("J1", document("a.sh"))
        assert (await served.until_over("J1"))[0] is Status.SUCCEEDED
    assert agent.logged("broker_lost")


async def test_job_goes_on_while_the_broker_is_away(tmp_path: Path, broker: Mosquitto, agent: Agent) -> None:
    """The result waits for the connection."""
    agent.handler("a.sh", "touch ../../../ready; while [ ! -e ../../../go ]; do sleep 0.05; done\n")
    service = FakeService()
    agent.start()
    async with connected(service, broker.port) as served:
        await served.publish(service.queue("J1", document("a.sh")))
        await served.until((tmp_path / "ready").exists)
        broker.stop()
    (tmp_path / "go").touch()
    broker.start()
    async with connected(service, broker.port) as served:
        assert (await served.until_over("J1"))[0] is Status.SUCCEEDED
    assert [status for status, _ in service.of("J1").history].count(Status.SUCCEEDED) == 1


async def test_forced_cancel_reaches_the_running_process(
    tmp_path: Path, agent: Agent, served: Served
) -> None:
    """Issue 6: within two seconds plus grace; descendants included, even with a session of their own."""
    agent.handler("a.sh", "setsid sleep 61 & echo $! >../../../pid; touch ../../../ready; sleep 60\n")
    agent.start()
    await served.publish(served.service.queue("J1", document("a.sh")))
    await served.until((tmp_path / "ready").exists)
    pid = int((tmp_path / "pid").read_text())
    await served.publish(served.service.end("J1"))
    await served.until(lambda: agent.logged("job_dropped"), 5)
    assert not is_alive(pid)
    assert served.service.of("J1").status is Status.CANCELED


async def test_killed_agent_reports_the_interrupted_job_and_ends_its_handler(
    tmp_path: Path, agent: Agent, served: Served
) -> None:
    """Promise 9: kill -9 in the middle; the job does not run twice and its processes do not live on."""
    agent.handler(
        "a.sh", "echo x >>../../../ran; echo $$ >../../../pid; touch ../../../ready; exec sleep 60\n"
    )
    agent.start()
    await served.publish(served.service.queue("J1", document("a.sh")))
    await served.until((tmp_path / "ready").exists)
    agent.end(signal.SIGKILL)
    pid = int((tmp_path / "pid").read_text())
    assert is_alive(pid)
    agent.start()
    status, details = await served.until_over("J1")
    assert (status, details["reason"]) == (Status.FAILED, "interrupted by restart during step 1/1 a")
    assert (tmp_path / "ran").read_text() == "x\n"
    assert not is_alive(pid)


async def test_sigterm_stops_agent_and_handler_cleanly(tmp_path: Path, agent: Agent, served: Served) -> None:
    """Exit code 0, the handler gone, and the document's rule applied at the next start."""
    agent.handler(
        "a.sh", "touch ../../../ready; [ -e ../../../again ] || { touch ../../../again; sleep 60; }\n"
    )
    agent.start()
    await served.publish(served.service.queue("J1", document("a.sh", onRestart="restart")))
    await served.until((tmp_path / "ready").exists)
    await served.until((tmp_path / "again").exists)
    assert await asyncio.to_thread(agent.end) == 0
    assert served.service.of("J1").status is Status.IN_PROGRESS
    agent.start()
    assert (await served.until_over("J1"))[0] is Status.SUCCEEDED


async def test_corrupt_checkpoint_is_set_aside_and_the_agent_goes_on(agent: Agent, served: Served) -> None:
    """Never a crash loop."""
    agent.handler("a.sh", "exit 0\n")
    agent.state_dir.mkdir()
    (agent.state_dir / "checkpoint.json").write_bytes(b"\0" * 100)
    served.service.queue("J1", document("a.sh"))
    agent.start()
    assert (await served.until_over("J1"))[0] is Status.SUCCEEDED
    assert agent.logged("checkpoint_lost")
    assert (agent.state_dir / "checkpoint.json.unreadable-1").exists()


async def test_hostile_messages_are_passed_over(agent: Agent, served: Served) -> None:
    """Bad payloads on our topics are logged and change nothing; the next job runs."""
    agent.handler("a.sh", "exit 0\n")
    agent.start()
    await served.until(lambda: bool(served.service.requests))
    hostile = [b"", b"\xff", b"[" * 50_000, b'{"timestamp":1,"execution":{"jobId":"../x"}}', b"x" * 1_000_000]
    base = jobs_base(THING)
    await served.publish([(f"{base}/notify-next", payload) for payload in hostile])
    await served.publish([(f"{base}/start-next/accepted", payload) for payload in hostile])
    await served.publish(served.service.queue("J1", document("a.sh")))
    assert (await served.until_over("J1"))[0] is Status.SUCCEEDED
    assert agent.logged("message_bad")


async def test_memory_of_an_idle_agent_is_small(agent: Agent, served: Served) -> None:
    """Architecture 3: at most 28 MiB on a gateway; this machine may have larger libraries."""
    agent.start()
    await served.until(lambda: bool(served.service.requests))
    assert agent.process is not None
    text = contents(f"/proc/{agent.process.pid}/status")
    kib = int(text.partition("VmRSS:")[2].split()[0])
    assert kib < 40 * 1024, f"{kib} KiB"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_step_runs_as_the_user_its_document_names(tmp_path: Path, agent: Agent, served: Served) -> None:
    """Control plane 8.3, fixed: the agent itself becomes the user, who has a private working directory."""
    let_others_pass(tmp_path)
    agent.handler(
        "a.sh",
        'echo me=$(id -un) >>"$THINGJOBS_PROGRESS_FILE"; echo "$1 $(id -un) $(stat -c %a .)"\n'
        f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done\n",
    )
    served.service.queue(
        "J1", {"version": "1.0", "includeStdOut": True, "steps": [step("a.sh", runAsUser="nobody")]}
    )
    agent.start()
    await served.until(lambda: served.service.of("J1").details == {"me": "nobody", "step": "1/1 a"})
    (tmp_path / "go").touch()
    status, details = await served.until_over("J1")
    assert (status, details.get("stdout")) == (Status.SUCCEEDED, "nobody nobody 700")


async def test_dead_link_is_found_out_and_the_result_gets_through(
    agent: Agent, broker: Mosquitto, served: Served
) -> None:
    """Issue 6: a link that takes everything and answers nothing; keepalive finds it, the result waits."""
    agent.handler("work.sh", "sleep 1\n")
    agent.start("--keepalive-seconds", "5")
    await served.publish(served.service.queue("J1", document("work.sh")))
    await served.until(lambda: served.service.of("J1").status is Status.IN_PROGRESS)
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            while not agent.logged("broker_lost"):
                await asyncio.sleep(0.1)
    finally:
        broker.process.send_signal(signal.SIGCONT)
    status, _ = await served.until_over("J1")
    assert status is Status.SUCCEEDED
    ends = [each for each, _ in served.service.of("J1").history if each in TERMINAL]
    assert ends == [Status.SUCCEEDED]


async def test_certificate_is_identity_and_authority_is_pinned(
    tmp_path: Path, agent: Agent, broker: Mosquitto
) -> None:
    """Issue 6: the broker knows us by our certificate; a broker of another authority is not spoken to."""
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    certificate, key = authority.issue("localhost")
    own_certificate, own_key = authority.issue(THING)
    port = free_port()
    broker.stop()
    user = "user root\n" if os.geteuid() == 0 else ""
    plain = user + "per_listener_settings true\n" + broker.config.read_text()
    broker.config.write_text(
        f"{plain}listener {port} 127.0.0.1\ncafile {authority.ca}\ncertfile {certificate}\nkeyfile {key}\n"
        "require_certificate true\nuse_identity_as_username true\nallow_anonymous false\n"
    )
    broker.start()
    files = ("--tls-cert-file", own_certificate, "--tls-key-file", own_key)
    where = ("--broker", f"mqtts://localhost:{port}")
    agent.handler("work.sh", "exit 0\n")
    agent.start(*where, *files, "--tls-ca-file", other.ca)
    async with asyncio.timeout(20):
        while not agent.logged("broker_lost"):
            await asyncio.sleep(0.05)
    assert "CERTIFICATE_VERIFY_FAILED" in agent.log.read_text()
    agent.end()
    async with connected(FakeService(), broker.port) as served:
        await served.publish(served.service.queue("J1", document("work.sh")))
        agent.start(*where, *files, "--tls-ca-file", authority.ca)
        status, _ = await served.until_over("J1")
    assert status is Status.SUCCEEDED
