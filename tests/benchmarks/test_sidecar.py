"""The benchmark of the sidecar: verdicts are right, disturbed runs are repeated, and every contender runs."""

from pathlib import Path

import msgspec
import pytest

from tests.benchmarks import load, servers, sidecar
from tests.support import require_program

SOUND = load.Result("rr", 100, 1, 1000, 1, 2, 3, 4000, 0, 0, 0, 0, 0.1, 20, 120, [40, 50])


def result(**changes: object) -> load.Result:
    """A sound result with some of its values changed."""
    return msgspec.structs.replace(SOUND, **changes)


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that was slow for a while was slow for both."""
    results = {
        sidecar.SERVICE: [result(per_s=per_s) for per_s in (50, 10, 400)],
        sidecar.ECHO_C: [result(per_s=per_s) for per_s in (100, 25, 1100)],
        sidecar.SERVICE_MUCH: [result(per_s=per_s) for per_s in (45, 8, 100)],
    }
    assert sidecar.verdicts(results) == [
        "serve, 100 live executions / echo in C: 0.40, aim at least 0.40: met",
        "serve, 100,000 live executions / serve, 100 live executions: 0.80, aim at least 0.90: missed",
    ]


def test_a_slow_tail_at_half_load_is_told() -> None:
    """Against its aim."""
    results = {sidecar.SERVICE + sidecar.HALF_LOAD: [result(p99_ms=60.0)]}
    (line,) = sidecar.verdicts(results)
    assert line == "serve, 100 live executions at half load: p99 60.0 ms, aim under 50 ms: missed"


def test_the_table_tells_what_a_request_costs_the_responder() -> None:
    """Half a core for 1,000 requests a second are 500 microseconds each."""
    *_, line = sidecar.table({sidecar.ECHO_C: [SOUND]})
    assert line == "| echo in C | 1,000 | 1.0 | 2.0 | 500 | 40 + 50 + 20 |"


def test_a_disturbed_run_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least disturbed one counts, and a quiet one ends it."""
    attempts = [result(machine_cpu=200), result(machine_cpu=110, per_s=7), result(machine_cpu=300)]
    monkeypatch.setattr(sidecar, "SETTLE_S", 0)
    monkeypatch.setattr(load, "run", lambda *_, **__: attempts.pop(0))
    contender = sidecar.Contender(lambda _: pytest.fail("it runs already"), "rr")
    found = sidecar._run(Path("load"), contender, servers.Server(1, [1, 2]), 1)
    assert found.per_s == 7
    assert len(attempts) == 1


@pytest.mark.broker
def test_every_contender_answers_what_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused, lost or answered twice, with a state that was prepared."""
    for program in ("mosquitto", "gcc"):
        require_program(program, package=program)
    monkeypatch.setattr(sidecar, "MUCH", 500)
    monkeypatch.setattr(sidecar, "ATTEMPTS_MAX", 1)
    results = sidecar.measure(tmp_path, list(sidecar.TITLES), rounds=1, seconds=1)
    assert [name for name in results if not name.endswith(sidecar.HALF_LOAD)] == list(sidecar.TITLES)
    assert all(run.per_s > 0 and not run.complaints() for rounds in results.values() for run in rounds)
