"""What an operator's monitoring sees: health, readiness and metrics."""

import asyncio
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.broker.http.served import Served
from thingjobs_broker.core.outcome import Message, Outcome
from thingjobs_broker.http.metrics import BUCKETS_SECONDS, COUNTED, GAUGES, Series

DOCUMENT = "{}"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(served: Served) -> Samples:
    """Every sample of the page, by its name and labels."""
    status, headers, body = served.raw("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(body.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """One sample, None where it is not there."""
    return samples.get((name, frozenset(labels.items())))


async def over_mqtt(served: Served, *topics_and_payloads: tuple[str, bytes]) -> None:
    """What arrives from the broker."""
    for topic, payload in topics_and_payloads:
        settled = asyncio.Event()
        served.host.receive(topic, payload, None, settled.set)
        await settled.wait()


def test_requests_are_counted_by_front_operation_and_code(served: Served) -> None:
    """HTTP and MQTT alike; the latency histogram has as many."""
    served.iot.create_thing(thingName="a")
    served.iot.list_things()
    served.raw("GET", "/jobs/none")
    served.raw("GET", "/nothing")
    work = over_mqtt(
        served,
        ("$aws/things/a/jobs/get", b"{}"),
        ("$aws/things/a/jobs/get", b"{"),
        ("$aws/control/me/DescribeJob", b'{"jobId":"none"}'),
        ("$aws/control/me/" + "x" * 50, b"{}"),
    )
    asyncio.run_coroutine_threadsafe(work, served.loop).result(10)
    samples = scraped(served)
    for front, operation, code in (
        ("http", "CreateThing", "ok"),
        ("http", "DescribeJob", "ResourceNotFoundException"),
        ("http", "unknown", "UnknownOperationException"),
        ("mqtt", "GetPendingJobExecutions", "ok"),
        ("mqtt", "GetPendingJobExecutions", "InvalidJson"),
        ("mqtt", "DescribeJob", "ResourceNotFoundException"),
        ("mqtt", "unknown", "InvalidRequestException"),
    ):
        labels = {"front": front, "operation": operation, "code": code}
        assert value(samples, "thingjobs_requests_total", **labels) == 1.0, labels
    of_gets = {"front": "mqtt", "operation": "GetPendingJobExecutions"}
    assert value(samples, "thingjobs_request_seconds_count", **of_gets) == 2.0
    assert value(samples, "thingjobs_request_seconds_bucket", **of_gets, le="+Inf") == 2.0


def test_jobs_and_executions_are_counted_by_status(served: Served) -> None:
    """As they are at the moment of the scrape."""
    for name in ("a", "b", "c"):
        served.iot.create_thing(thingName=name)
    served.iot.create_job(
        jobId="j", targets=["a", "b", "c"], document=DOCUMENT, timeoutConfig={"inProgressTimeoutInMinutes": 1}
    )
    served.data.start_next_pending_job_execution(thingName="a")
    served.data.update_job_execution(thingName="b", jobId="j", status="FAILED")
    samples = scraped(served)
    found = {
        status: value(samples, "thingjobs_executions", status=status)
        for status in ("QUEUED", "IN_PROGRESS", "FAILED", "SUCCEEDED")
    }
    assert found == {"QUEUED": 1.0, "IN_PROGRESS": 1.0, "FAILED": 1.0, "SUCCEEDED": 0.0}
    assert value(samples, "thingjobs_jobs", status="IN_PROGRESS") == 1.0
    assert value(samples, "thingjobs_things") == 3.0
    assert value(samples, "thingjobs_timers") == 1.0
    assert value(samples, "thingjobs_writable") == 1.0
    assert (value(samples, "thingjobs_journal_sync_seconds_count") or 0) >= 4
    assert (value(samples, "thingjobs_http_connections") or 0) >= 1
    assert (value(samples, "thingjobs_http_processor_seconds_total") or 0) > 0
    assert value(samples, "process_resident_memory_bytes")


def test_every_gauge_is_documented() -> None:
    """docs/operate.md lists what the page has."""
    text = (Path(__file__).parents[3] / "docs" / "operate.md").read_text("utf-8")
    families = ["thingjobs_requests_total", "thingjobs_request_seconds", "thingjobs_journal_sync_seconds"]
    shown = [f"{name}_total" if name in COUNTED else name for name in GAUGES]
    for name in (*families, "thingjobs_jobs", "thingjobs_executions", *shown):
        assert f"`{name}`" in text or f"`{name}{{" in text, name


def test_a_histogram_counts_at_its_bounds() -> None:
    """A bucket holds what is at most its bound, and all that is less."""
    series = Series()
    for seconds in (0.0, BUCKETS_SECONDS[0], 0.0006, 99.0):
        series.add(seconds)
    buckets = series.buckets()
    assert buckets[0] == (str(BUCKETS_SECONDS[0]), 2)
    assert buckets[1][1] == 3
    assert buckets[-2][1] == 3
    assert buckets[-1] == ("+Inf", 4)


def test_health_and_readiness_need_no_signature(served: Served) -> None:
    """Health: the process answers. Readiness: changes are taken."""
    assert served.raw("GET", "/healthz")[::2] == (200, b"ok\n")
    assert served.raw("GET", "/readyz")[::2] == (200, b"ready\n")
    runner = served.host.runner
    assert runner is not None
    assert runner._service is not None
    runner._service.read_only = True
    assert served.raw("GET", "/healthz")[0] == 200
    assert served.raw("GET", "/readyz")[::2] == (503, b"changes are refused\n")
    samples = scraped(served)
    assert value(samples, "thingjobs_writable") == 0.0


def test_a_request_without_an_answer_counts_as_served(served: Served) -> None:
    """Such as one that only makes records."""
    served.front._metrics.mqtt_request("AdvanceClock", Outcome([], []), 0.1)
    served.front._metrics.mqtt_request("AdvanceClock", Outcome([], [Message("x/accepted", {})]), 0.1)
    labels = {"front": "mqtt", "operation": "AdvanceClock", "code": "ok"}
    assert value(scraped(served), "thingjobs_requests_total", **labels) == 2.0
