"""How often each operation of the control plane may be asked for (spec: control plane 1.2, 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thingjobs_broker.core.errors import ThrottlingError
from thingjobs_broker.core.throttle import Throttle

if TYPE_CHECKING:
    from thingjobs_broker.core.quotas import Quotas

OWN_RATES: Final = {
    "SearchIndex": "searches_per_second",
    "UpdateIndexingConfiguration": "indexing_updates_per_second",
}
"""Operations with a setting of their own; the others share the value, not the tokens, of one."""


class CallRates:
    """A bucket for each operation that has a rate; without any, as by default, it costs a lookup."""

    def __init__(self, quotas: Quotas) -> None:
        names = ("calls_per_second", *OWN_RATES.values())
        rates: dict[str, int] = {name: getattr(quotas, name) for name in names}
        self._throttles = {name: Throttle(rate, rate) for name, rate in rates.items() if rate}

    def check(self, operation: str, now_ms: int) -> None:
        """Count a call of an operation that there is.

        Raises:
            ThrottlingError: there were too many; the message tells when to come again and names the setting.

        """
        name = OWN_RATES.get(operation, "calls_per_second")
        throttle = self._throttles.get(name)
        wait_ms = throttle.take(operation, now_ms) if throttle is not None else 0
        if wait_ms:
            message = f"{operation} is called too often; try again in {wait_ms} ms (setting quotas.{name})"
            raise ThrottlingError(message)
