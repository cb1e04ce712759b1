"""Our own operations on the service's clock. The host moves one for tests, then asks here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_broker.core.records import ServiceStarted

if TYPE_CHECKING:
    from thingjobs_broker.core import operations
    from thingjobs_broker.core.step import Step


def describe_clock(step: Step, _request: operations.DescribeClock, _by: str) -> dict[str, Any]:
    """Tell what time it is, in epoch seconds."""
    return {"now": step.now_ms / 1000, "isTestClock": step.ports.is_test_clock}


def advance_clock(step: Step, _request: operations.AdvanceClock, _by: str) -> dict[str, Any]:
    """Tell what time it is, now that the host has let so much pass.

    Raises:
        InvalidRequestError: the clock is not for tests.

    """
    if not step.ports.is_test_clock:
        message = "The service runs on the machine's clock; start it with --test-clock to move it"
        raise InvalidRequestError(message)
    # On record, so that a restart carries on from here and time never goes back.
    step.apply(ServiceStarted(step.now_ms, "", step.now_ms))
    return {"now": step.now_ms / 1000}
