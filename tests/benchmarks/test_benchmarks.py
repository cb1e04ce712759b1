"""The benchmark itself: figures are counted right, bad ones are refused, and the load generator works."""

import gc
import re
import subprocess
from argparse import Namespace
from pathlib import Path

import msgspec
import pytest

from tests.benchmarks import __main__ as bench
from tests.benchmarks import abuse, comings, load, recovery, scale, scale_served, servers
from tests.benchmarks.watched import Longest, Watch
from tests.support import free_port, require_program

SOUND = load.Result("rr", 100, 1, 1000, 1, 2, 3, 4000, 0, 0, 0, 0, 0.1, 20, 120, [90, 5])


def result(**changes: object) -> load.Result:
    """A sound result with some of its values changed."""
    return msgspec.structs.replace(SOUND, **changes)


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds() -> None:
    """Rounds are compared with themselves: a machine that was slow for a while was slow for both."""
    results = {
        ("service", 100): [result(per_s=per_s) for per_s in (50, 10, 400)],
        ("echo", 100): [result(per_s=per_s) for per_s in (100, 25, 1000)],
    }
    (line,) = bench.ratios(results)
    assert re.search(r"journal on / bare echo, embedded, 100 devices +0\.40 +aim at least 0\.35: met", line)


def test_a_missed_aim_says_so() -> None:
    """The line of a ratio below its aim ends in missed."""
    results = {("service", 100): [result(per_s=1000)], ("service", 2000): [result(per_s=799)]}
    (line,) = bench.ratios(results)
    assert line.endswith("0.80   aim at least 0.80: missed")


def test_the_table_holds_medians() -> None:
    """The middle round of each contender is printed, the processes of a server one by one."""
    lines = bench.table({("mosquitto", 2000): [result(per_s=per_s) for per_s in (1, 1234, 9999)]})
    assert lines[1].split() == [
        "Mosquitto,",
        "echo",
        "in",
        "C",
        "2,000",
        "1,234",
        "1.00",
        "2.00",
        "90+5",
        "20",
    ]
    assert lines[-1] == "The load generator used at most 20 % of a core: not the bottleneck."


def test_a_busy_load_generator_is_told() -> None:
    """A figure that the generator held down must not pass for one of the server."""
    assert "TOO BUSY" in bench.table({("echo", 1): [result(own_cpu=97)]})[-1]


def test_a_busy_machine_is_told() -> None:
    """Work of other programs, beyond the server's and the generator's, is named."""
    assert "up to 85 %" in bench.table({("echo", 1): [result(machine_cpu=200)]})[-1]


@pytest.mark.parametrize("name", ["rejected", "empty", "stray", "dead"])
def test_a_result_with_lost_or_refused_requests_is_worthless(name: str) -> None:
    """A server that refuses quickly is not a fast server."""
    assert result().complaints() == []
    assert result(**{name: 3}).complaints()[0].startswith("3 ")
    assert result(accepted=0).complaints() != []


def test_an_abuser_that_slows_the_others_down_is_marked() -> None:
    """Its ratio is that of neighboring runs, the median of all rounds; below 0.9 is said."""
    with_it = [result(per_s=per_s, p99_ms=8, cpu=[90, 5, 70]) for per_s in (95, 60, 80)]
    pairs = [(result(per_s=100), one) for one in with_it]
    *_, line, _ = abuse.table({"flood": pairs})
    found = "| `flood` | 80 | 0.80 | 0.60 to 0.95 | 1.0 | 1.0 | 8.0 | 2.0 | 90 + 5 + 20 + 70 | 90 + 5 + 20 |"
    assert line == f"{found} below 0.9"
    assert "below" not in abuse.table({"flood": [pairs[0]]})[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled load generator."""
    require_program("gcc", package="gcc libc6-dev")
    return load.build(tmp_path_factory.mktemp("load"))


@pytest.mark.broker
@pytest.mark.parametrize(("mode", "window"), [("rr", 1), ("rr", 8), ("pub", 4)])
def test_the_load_generator_measures_mosquitto(program: Path, tmp_path: Path, mode: str, window: int) -> None:
    """Every request is answered once, to the device that sent it."""
    require_program("mosquitto", package="mosquitto")
    with servers.mosquitto_with_echo(tmp_path, program) as server:
        options = ("-n", "20", "-u", "0", "-w", str(window))
        found = load.run(program, mode, server.port, *options, seconds=1, pids=server.pids)
    assert found.complaints() == []
    assert found.accepted == pytest.approx(found.per_s, rel=0.5)
    assert 0 < found.p50_ms <= found.p99_ms <= found.max_ms
    assert len(found.cpu) == 2


@pytest.mark.broker
def test_the_store_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """A small state through all of it: filled, recovered, put under load, recovered with a journal."""
    size = ("--executions", "2000", "--per-thing", "4", "--journal-mib", "1", "--seconds", "1")
    assert recovery.main([*size, "--without-service"]) == 0
    output = capsys.readouterr().out
    assert "| 2,000 | 4 | " in output
    assert output.count("aim at ") == 5


@pytest.mark.broker
def test_a_paced_run_sends_at_its_rate(program: Path, tmp_path: Path) -> None:
    """20 devices with 10 requests a second each."""
    with servers.bare_echo(tmp_path) as server:
        found = load.run(program, "rr", server.port, "-n", "20", "-u", "0", "-r", "10", seconds=1)
    assert found.complaints() == []
    assert 170 <= found.accepted <= 210


@pytest.mark.broker
@pytest.mark.parametrize("broker", abuse.SERVERS)
def test_an_abuser_is_measured(broker: str, tmp_path: Path) -> None:
    """Fifty devices are served beside a flood, without and with it in turn."""
    kinds = ["flood", "http_flood"]
    options = Namespace(only=kinds, rounds=1, seconds=1, rate=10, priorities=False, unlimited=False)
    with abuse.SERVERS[broker](tmp_path, True) as server:
        results = abuse.measure(tmp_path, server, options)
    assert [one.complaints() for kind in kinds for pair in results[kind] for one in pair] == [[]] * 4


@pytest.mark.broker
def test_the_embedded_echo_and_the_service_are_measured(program: Path, tmp_path: Path) -> None:
    """The contenders start, answer everything without a rejection, and stop."""
    with servers.bare_echo(tmp_path) as server:
        echo = load.run(program, "rr", server.port, "-n", "10", "-u", "0", seconds=1, pids=server.pids)
    with servers.jobs_service(tmp_path, devices=10) as server:
        cycle = load.run(program, "cycle", server.port, "-n", "10", "-u", "0", seconds=1, pids=server.pids)
    assert (echo.complaints(), cycle.complaints()) == ([], [])


@pytest.mark.broker
def test_a_cycle_to_the_end_runs_out_of_jobs(program: Path, tmp_path: Path) -> None:
    """With -T every device finishes its one job: start-next, an update, SUCCEEDED, and nothing is left."""
    with servers.jobs_service(tmp_path, devices=10) as server:
        options = ("-n", "10", "-u", "0", "-k", "2", "-T")
        found = load.run(program, "cycle", server.port, *options, seconds=1)
    assert (found.accepted, found.empty, found.rejected, found.stray) == (10 * 4, 10, 0, 0)


@pytest.mark.broker
def test_nothing_that_listens_is_an_error(program: Path) -> None:
    """A load generator without a server reports no figure."""
    with pytest.raises(load.BenchmarkError, match="refused"):
        load.run(program, "rr", free_port(), "-n", "2", seconds=1)


@pytest.mark.broker
@pytest.mark.parametrize(
    "arguments", [[], ["dance", "1883"], ["rr", "1883", "-w", "65"], ["rr", "1883", "-n", "0"]]
)
def test_wrong_options_of_the_load_generator_are_refused(program: Path, arguments: list[str]) -> None:
    """One line says what was wrong."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def run_of(per_s: float, turn_ms: float = 1.0) -> scale_served.Run:
    """A run with that rate and that longest turn."""
    return scale_served.Run(result(per_s=per_s), Longest(turn_ms, 2 * turn_ms, 0.5))


def test_a_run_with_work_is_compared_with_the_mean_of_those_around_it() -> None:
    """A machine that grows slower meanwhile is not the work's fault; by how much is told."""
    step = scale_served.Step(run_of(1200), run_of(900), run_of(800))
    assert (step.alone_per_s, step.ratio, step.drift) == (1000, 0.9, 1.5)


def test_devices_served_are_shown_by_medians_with_their_spread_and_the_longest_pause() -> None:
    """Rates and ratios are medians of the rounds; of pauses none is forgiven."""
    steps = [scale_served.Step(run_of(100), run_of(per_s, per_s), run_of(100)) for per_s in (90, 10, 80)]
    row = scale_served._table({"rollout": steps})[-1].strip("| ").split(" | ")
    assert row[:6] == ["rollout", "80", "100", "0.80", "0.10 to 0.90", "0%"]
    assert row[8:12] == ["90.0 (180.0)", "1.0 (2.0)", "0.5", "0.5"]


def test_a_watch_keeps_the_longest_and_begins_anew() -> None:
    """Turns as they are told, collections as they happen."""
    watch = Watch()
    try:
        watch.turned(0.002, 0.005)
        watch.turned(0.003, 0.004)
        gc.collect()
    finally:
        gc.callbacks.remove(watch._collecting)
    longest = watch.take()
    assert (longest.turn_cpu_ms, longest.turn_wall_ms) == (3, 5)
    assert longest.collection_ms > 0
    assert watch.take() == Longest()


@pytest.mark.broker
def test_large_jobs_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """A small one through all of it; no minute has more than its thousand."""
    assert scale.main(["--executions", "2000", "--without-service"]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| 2,000 | ")
    assert row.split(" | ")[-5:-3] == ["2", "1,000"]


@pytest.mark.broker
def test_comings_and_goings_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """One visit of a few devices with each way of collecting."""
    options = ["--devices", "5", "--rounds", "1", "--visits", "1", "--seconds", "1"]
    assert comings.main(options) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["| 5", "Python's"], ["| 5", "ours"]]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)
