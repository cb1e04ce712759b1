"""Which handlers of this device may run, as whom, within which limits; why one may not is `handlers`'s."""

from __future__ import annotations

from typing import Any

from thingjobs_agent.config import Config
from thingjobs_agent.errors import UsageError
from thingjobs_agent.handlers import Refusal, become, handler_refusal
from thingjobs_agent.local import shown_rule


def handler_verdicts(config: Config) -> list[dict[str, Any]]:
    """Return each file of the handler directory: may it run, as whom, within which limits.

    Raises:
        UsageError: the directory cannot be read.

    """
    directory = config.local.handler_dir
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except OSError as error:
        raise UsageError(f"the handler directory {directory} cannot be read: {error.strerror}") from None
    found = []
    # A rule for a handler that is not there is a slip of the pen.
    for name in [*names, *(rule for rule in config.local.rules if rule not in names and "/" not in rule)]:
        rule = config.local.rule(name)
        reason = handler_refusal(name, directory)
        if reason is None and rule.user:
            verdict = become(rule.user)
            reason = verdict.reason if isinstance(verdict, Refusal) else None
        found.append(
            {
                "name": name,
                "may_run": reason is None,
                "reason": reason,
                "user": rule.user or "(the agent's)",
                "rule": shown_rule(rule),
            }
        )
    return found
