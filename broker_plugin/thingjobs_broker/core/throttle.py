"""How fast a thing may ask: one token bucket for each thing (spec: data plane 3.2, RequestThrottled).

A bucket is kept as the time at which it is full again, one number; a full one is not kept at all. Time comes
in, as everywhere in the core.
"""

from __future__ import annotations

from typing import Final

_TOKEN: Final = 1000
"""Units in a token: a bucket gains as many units in a millisecond as it gains tokens in a second."""


class Throttle:
    """The buckets of all things.

    Args:
        requests_per_second: what a thing may ask in the long run; at least 1.
        requests_burst: what it may ask at once after a pause; at least 1.

    """

    __slots__ = ("_capacity", "_forget_at", "_full_at", "_full_at_before", "_rate")

    def __init__(self, requests_per_second: int, requests_burst: int) -> None:
        if requests_per_second < 1 or requests_burst < 1:
            message = f"{requests_per_second} requests per second, {requests_burst} at once; both at least 1"
            raise ValueError(message)
        self._rate = requests_per_second
        self._capacity = requests_burst * _TOKEN
        # In units of time that are `1 / rate` of a millisecond, so that all is exact in integers.
        self._full_at: dict[str, int] = {}
        self._full_at_before: dict[str, int] = {}
        self._forget_at = 0

    def __len__(self) -> int:
        return len(self._full_at.keys() | self._full_at_before.keys())

    def take(self, thing_name: str, now_ms: int) -> int:
        """Take a token of the thing's; return 0, or in how many milliseconds there will be one."""
        now = now_ms * self._rate
        if now >= self._forget_at:
            self._forget_full_ones(now)
        full_at = self._full_at.get(thing_name) or self._full_at_before.get(thing_name, 0)
        full_at = max(full_at, now) + _TOKEN
        missing = full_at - now - self._capacity
        if missing > 0:
            return -(-missing // self._rate)
        self._full_at[thing_name] = full_at
        return 0

    def _forget_full_ones(self, now: int) -> None:
        """Filling takes `capacity` at most: what was not touched since the last time is full."""
        self._full_at_before = self._full_at if now < self._forget_at + self._capacity else {}
        self._full_at = {}
        self._forget_at = now + self._capacity
