"""What the service tells about itself in `/metrics`: counted cheaply, put into words when somebody asks.

Request counters are plain dictionaries, because a device's request costs tens of microseconds and its
counting must not be seen in that; the client library's objects are made at the scrape. No name or id is told.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from thingjobs_broker.core.control import OPERATIONS
from thingjobs_protocol.status import JobExecutionStatus, JobStatus
from thingjobs_protocol.topics import ACCEPTED, Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import Metric

    from thingjobs_broker.core.outcome import Outcome
    from thingjobs_broker.core.state import State
    from thingjobs_broker.host import ServiceHost

Gauges = dict[str, float]

BUCKETS_SECONDS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
JOBS_SLICE: Final = 2_000
"""Jobs counted before others get their turn."""

OK: Final = "ok"
UNKNOWN: Final = "unknown"
_KNOWN: Final = frozenset({*OPERATIONS, *(api.value for api in Api)})

GAUGES: Final[Mapping[str, str]] = {
    "thingjobs_broker_connected": "1 while the service can reach its broker.",
    "thingjobs_mqtt_clients": "Clients connected to the embedded broker.",
    "thingjobs_outbox_messages": "Messages that the broker has not confirmed yet.",
    "thingjobs_things": "Things in the registry.",
    "thingjobs_things_left_out": "How often a thing in too many groups did not join a dynamic one.",
    "thingjobs_writable": "1 while changes are taken, 0 while the disk is in trouble.",
    "thingjobs_commit_queue": "Answers and notifications that wait for the disk.",
    "thingjobs_timers": "Timers that are running, of executions.",
    "thingjobs_timer_lag_seconds": "For how long something has been due that is not done.",
    "thingjobs_snapshot_age_seconds": "Since the newest snapshot was finished.",
    "thingjobs_http_connections": "HTTP connections that are open.",
    "thingjobs_http_processor_seconds": "Processor time that HTTP has taken since the start.",
}


COUNTED: Final = frozenset({"thingjobs_things_left_out", "thingjobs_http_processor_seconds"})
"""Those of them that only grow: Prometheus has `_total` behind their names."""


class Series:
    """One histogram: how often which bucket, and the sum."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_SECONDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative buckets, as Prometheus has them."""
        total = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip([*map(str, BUCKETS_SECONDS), "+Inf"], self.counts, strict=True):
            total += count
            found.append((bound, total))
        return found


class Metrics(Collector):
    """All of them; `text` is the page.

    Args:
        host: the service.
        gauges: what only the adapter knows, by the names in `GAUGES`.

    """

    def __init__(self, host: ServiceHost, gauges: Callable[[], Gauges]) -> None:
        self._host = host
        self._gauges = gauges
        self._requests: dict[tuple[str, str, str], int] = {}
        self._latencies: dict[tuple[str, str], Series] = {}
        self._syncs = Series()
        self._jobs: dict[JobStatus, int] = {}
        self._executions: dict[JobExecutionStatus, int] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def start(self) -> None:
        """Begin to count what comes over MQTT, and the disk's syncs."""
        runner = self._host.runner
        assert runner is not None, "the service runs before its metrics"
        runner.observe = self.mqtt_request
        runner.commits.observe_sync = self._syncs.add

    def mqtt_request(self, operation: str, outcome: Outcome, seconds: float) -> None:
        """Count a request of a device or an operator over MQTT."""
        code = OK
        if outcome.messages:
            topic, body = outcome.messages[0].topic, outcome.messages[0].body
            if not topic.endswith(ACCEPTED):
                code = body["code"] if isinstance(body, dict) else getattr(body, "code", OK)
        self._add("mqtt", operation if operation in _KNOWN else UNKNOWN, code, seconds)

    def http_request(self, operation: str, code: str, seconds: float) -> None:
        """Count a request over HTTP."""
        self._add("http", operation, code or OK, seconds)

    def _add(self, front: str, operation: str, code: str, seconds: float) -> None:
        key = (front, operation, code)
        self._requests[key] = self._requests.get(key, 0) + 1
        series = self._latencies.get((front, operation))
        if series is None:
            series = self._latencies[front, operation] = Series()
        series.add(seconds)

    async def text(self) -> bytes:
        """Return the page; jobs are counted in slices, since there may be many."""
        runner = self._host.runner
        if runner is not None and runner.state is not None:
            await self._count(runner.state)
        return generate_latest(self._registry)

    async def _count(self, state: State) -> None:
        jobs, executions = dict.fromkeys(JobStatus, 0), dict.fromkeys(JobExecutionStatus, 0)
        for start in range(0, len(state.job_order), JOBS_SLICE):
            for job in state.job_order[start : start + JOBS_SLICE]:
                if job is None:
                    continue
                jobs[job.status] += 1
                for status, count in job.counts.items():
                    executions[JobExecutionStatus(status)] += count
            await asyncio.sleep(0)
        self._jobs, self._executions = jobs, executions

    def collect(self) -> Iterator[Metric]:
        """Put the numbers into the library's words."""
        requests = CounterMetricFamily(
            "thingjobs_requests",
            "Requests by front, operation and code.",
            labels=["front", "operation", "code"],
        )
        for labels, count in self._requests.items():
            requests.add_metric(labels, count)
        yield requests
        latencies = HistogramMetricFamily(
            "thingjobs_request_seconds",
            "Until the answer has left, which is when it is durable.",
            labels=["front", "operation"],
        )
        for key, series in self._latencies.items():
            latencies.add_metric(key, series.buckets(), series.sum)
        yield latencies
        yield HistogramMetricFamily(
            "thingjobs_journal_sync_seconds",
            "Appending to the journal and syncing it.",
            buckets=self._syncs.buckets(),
            sum_value=self._syncs.sum,
        )
        yield _by_status("thingjobs_jobs", "Jobs by status.", self._jobs)
        yield _by_status("thingjobs_executions", "Job executions by status.", self._executions)
        for name, value in (self._of_service() | self._gauges()).items():
            family = CounterMetricFamily if name in COUNTED else GaugeMetricFamily
            yield family(name, GAUGES[name], value)

    def _of_service(self) -> Gauges:
        runner = self._host.runner
        if runner is None:
            return {"thingjobs_writable": 0.0}
        state = runner.state
        return {
            "thingjobs_writable": float(runner.is_writable),
            "thingjobs_commit_queue": float(len(runner.commits)),
            "thingjobs_things": float(len(state.things)) if state is not None else 0.0,
            "thingjobs_things_left_out": float(self._host.notices.left_out_count),
            "thingjobs_timers": float(len(state.timers)) if state is not None else 0.0,
            "thingjobs_timer_lag_seconds": runner.lag_ms() / 1000,
            "thingjobs_snapshot_age_seconds": self._host.snapshot_age_seconds(),
        }


def _by_status(
    name: str, text: str, counts: Mapping[JobStatus, int] | Mapping[JobExecutionStatus, int]
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["status"])
    for status, count in counts.items():
        family.add_metric([status.value], count)
    return family
