"""How often a client may do something: so often in the long run, and so often at once after a pause. Pure."""


class Pace:
    """A token bucket, kept as the time at which it is full again."""

    __slots__ = ("_burst_seconds", "_each_seconds", "_full_at")

    def __init__(self, per_second: float, burst: float) -> None:
        self._each_seconds = 1 / per_second
        self._burst_seconds = burst / per_second
        self._full_at = 0.0

    def count(self, now: float) -> None:
        """It is being done."""
        self._full_at = max(self._full_at, now) + self._each_seconds

    def wait_seconds(self, now: float) -> float:
        """How long until it may be done once more; 0 for at once."""
        return max(0.0, self._full_at + self._each_seconds - self._burst_seconds - now)

    def is_full(self, now: float) -> bool:
        """Whether nothing is remembered that a new one would not know."""
        return self._full_at <= now
