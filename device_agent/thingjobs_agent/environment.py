"""The environment of handlers: a short allow-list from the agent's own, the user's identity, and the job's
facts.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from thingjobs_agent.document import VERSION
from thingjobs_agent.events import StartStep
from thingjobs_agent.handlers import PATH_DEFAULT, RunAs
from thingjobs_agent.kin import MARK
from thingjobs_agent.process import Files

INHERITED: Final = ("PATH", "LANG", "LC_ALL", "TZ")
MINUTE_MS: Final = 60_000


def handler_environment(
    command: StartStep,
    *,
    thing_name: str,
    state_dir: Path,
    files: Files,
    run_as: RunAs | None,
    own: Mapping[str, str],
    allowed: Iterable[str] = (),
) -> dict[str, str]:
    """Return a handler's whole environment; `allowed` names what it may see of the agent's `own` besides."""
    environment = {"PATH": PATH_DEFAULT}
    environment |= {name: own[name] for name in (*INHERITED, *allowed) if name in own}
    user, home = _own_user() if run_as is None else (run_as.name, run_as.home)
    return environment | {
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "THINGJOBS_JOB_ID": command.identity.job_id,
        "THINGJOBS_THING_NAME": thing_name,
        "THINGJOBS_EXECUTION_NUMBER": str(command.identity.execution_number),
        # Rounded up: a handler that is told 0 minutes could do nothing with it.
        "THINGJOBS_TIMEOUT_MINUTES": str(-(-command.timeout_ms // MINUTE_MS)),
        "THINGJOBS_PROGRESS_FILE": str(files.progress),
        "THINGJOBS_THEN_FILE": str(files.then),
        # The first argument is the user in one form and not in the other (8.3).
        "THINGJOBS_SCHEMA": "flat" if command.step.is_flat else VERSION,
        MARK: str(state_dir),
    }


def _own_user() -> tuple[str, str]:
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        return str(os.geteuid()), "/"
    return entry.pw_name, entry.pw_dir
