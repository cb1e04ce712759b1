"""What handlers see: an allow-list and the job's facts."""

from __future__ import annotations

from pathlib import Path

from thingjobs_agent.document import Step
from thingjobs_agent.environment import handler_environment
from thingjobs_agent.events import StartStep
from thingjobs_agent.handlers import RunAs
from thingjobs_agent.process import Files
from thingjobs_agent.work import Identity

COMMAND = StartStep(Identity("J1", 2, 1_700_000_000), Step("Work", "work.sh"), "1/1 Work", 90_001)


def environment(
    own: dict[str, str], *, run_as: RunAs | None = None, allowed: tuple[str, ...] = ()
) -> dict[str, str]:
    return handler_environment(
        COMMAND,
        thing_name="press-7",
        state_dir=Path("/state"),
        files=Files(Path("/work-dir"), Path("/work-dir/progress-1"), Path("/work-dir/then-1")),
        run_as=run_as,
        own=own,
        allowed=allowed,
    )


def test_facts_of_the_job_are_there() -> None:
    """B23, issue 6: job id, thing, execution number, timeout minutes and a progress file."""
    facts = {key: value for key, value in environment({}).items() if key.startswith("THINGJOBS_")}
    assert facts == {
        "THINGJOBS_JOB_ID": "J1",
        "THINGJOBS_THING_NAME": "press-7",
        "THINGJOBS_EXECUTION_NUMBER": "2",
        "THINGJOBS_TIMEOUT_MINUTES": "2",
        "THINGJOBS_PROGRESS_FILE": "/work-dir/progress-1",
        "THINGJOBS_THEN_FILE": "/work-dir/then-1",
        "THINGJOBS_SCHEMA": "1.0",
        "THINGJOBS_STATE_DIR": "/state",
    }


def test_only_allowed_variables_are_passed_on() -> None:
    """Secrets of the agent stay with it."""
    seen = environment(
        {"THINGJOBS_AGENT_PASSWORD": "x", "LANG": "C", "PROXY": "p", "OTHER": "o"}, allowed=("PROXY",)
    )
    assert "THINGJOBS_AGENT_PASSWORD" not in seen
    assert "OTHER" not in seen
    assert (seen["LANG"], seen["PROXY"]) == ("C", "p")


def test_there_is_always_a_path() -> None:
    """A service manager may start the agent without one."""
    assert "/usr/bin" in environment({})["PATH"]
    assert environment({"PATH": "/opt/bin"})["PATH"] == "/opt/bin"


def test_home_and_user_are_those_of_the_handler() -> None:
    """Not root's home for somebody else's process."""
    seen = environment({"HOME": "/root"}, run_as=RunAs("pi", 1000, 1000, (1000,), "/home/pi"))
    assert (seen["HOME"], seen["USER"], seen["LOGNAME"]) == ("/home/pi", "pi", "pi")
