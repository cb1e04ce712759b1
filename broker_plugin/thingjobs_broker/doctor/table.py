"""The checks in their order; one that rests on a failed one is left out, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import aiomqtt

from thingjobs_broker.cli.errors import RefusedError, UnreachableError
from thingjobs_broker.doctor import disk, network, queue, rights
from thingjobs_broker.doctor.findings import Finding, NotChecked, Outcome, Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from thingjobs_broker.doctor.case import Case


class Check(NamedTuple):
    """A line of the diagnosis. `make` returns what is well, or raises `Problem` or `NotChecked`."""

    name: str
    make: Callable[[Case], Awaitable[str]]
    needs: str = ""


CHECKS: Final = (
    Check("connect", network.connect),
    Check("certificate", network.certificate, "connect"),
    Check("login", network.login, "connect"),
    Check("subscribe", network.subscribe, "login"),
    Check("service", network.service, "subscribe"),
    Check("latency", network.latency, "service"),
    Check("broker", network.broker, "login"),
    Check("queue", queue.queue, "login"),
    Check("strangers", rights.strangers, "login"),
    Check("device", rights.device, "service"),
    Check("clock", rights.clock, "device"),
    Check("forgery", rights.forgery, "device"),
    Check("eavesdropping", rights.eavesdropping, "device"),
    Check("impersonation", rights.impersonation, "device"),
    Check("directory", disk.directory),
    Check("modes", disk.modes, "directory"),
    Check("lock", disk.lock, "directory"),
    Check("space", disk.space, "directory"),
)


async def examine(case: Case) -> AsyncGenerator[Finding, None]:
    """Make every check, and yield its finding as soon as it is there.

    Raises:
        LocalFileError: a file that an option names cannot be used.

    """
    found: dict[str, Finding] = {}
    async with case.stack:
        for check in CHECKS:
            finding = _left_out(check, found) or await _made(check, case)
            found[check.name] = finding
            yield finding


def _left_out(check: Check, found: dict[str, Finding]) -> Finding | None:
    if not check.needs or found[check.needs].outcome is Outcome.OK:
        return None
    base = found[check.needs]
    reason = base.message if base.outcome is Outcome.SKIPPED else f"rests on {base.check}, which failed"
    return Finding(check.name, Outcome.SKIPPED, reason)


async def _made(check: Check, case: Case) -> Finding:
    try:
        return Finding(check.name, Outcome.OK, await check.make(case))
    except NotChecked as reason:
        return Finding(check.name, Outcome.SKIPPED, str(reason))
    except Problem as problem:
        return Finding(check.name, Outcome.FAILED, problem.message, problem.fix)
    except UnreachableError as error:
        return Finding(check.name, Outcome.FAILED, error.problem, error.fix)
    except RefusedError as error:
        fix = "see the log of the service"
        return Finding(
            check.name, Outcome.FAILED, f"the service refused what every operator may: {error}", fix
        )
    except (aiomqtt.MqttError, TimeoutError) as error:
        fix = "see the log of the broker"
        return Finding(
            check.name, Outcome.FAILED, f"the broker went silent: {str(error) or 'no answer'}", fix
        )
