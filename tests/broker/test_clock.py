"""The service's time: on over restarts, never back, and wrong wall clocks (architecture, "Time")."""

from dataclasses import dataclass, replace

import pytest

from thingjobs_broker import clock
from thingjobs_broker.clock import LOST_MS_MIN, STEP_MS_MIN, SystemClock

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


@dataclass
class Machine:
    """What the clock reads of the machine."""

    wall_ms: int = NOW_MS
    uptime_ms: int = HOUR_MS
    boot_id: str = "this boot"

    def passes(self, duration_ms: int) -> None:
        """Time as it is."""
        self.wall_ms += duration_ms
        self.uptime_ms += duration_ms


@dataclass(frozen=True)
class Started:
    """The last start on record: an hour after the boot, at noon."""

    at_ms: int = NOW_MS
    boot_id: str = "this boot"
    uptime_ms: int = HOUR_MS
    is_clock_lost: bool = False


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose clocks the test sets."""
    found = Machine()
    monkeypatch.setattr(clock, "_wall_ms", lambda: found.wall_ms)
    monkeypatch.setattr(clock, "_boot_id", lambda: found.boot_id)
    monkeypatch.setattr(SystemClock, "uptime_ms", lambda _: found.uptime_ms)
    return found


def test_a_first_start_takes_the_wall_clock(machine: Machine) -> None:
    """Nothing is on record."""
    running = SystemClock()
    assert (running.now_ms(), running.boot_id) == (NOW_MS, "this boot")
    machine.passes(90_000)
    assert (running.now_ms(), running.behind_ms()) == (NOW_MS + 90_000, 0)


def test_a_wall_clock_set_back_is_not_followed(machine: Machine) -> None:
    """Time never goes backwards: it goes on, and the wall clock catches up."""
    running = SystemClock()
    machine.wall_ms -= 10 * HOUR_MS
    assert (running.now_ms(), running.behind_ms()) == (NOW_MS, 0)
    machine.passes(1000)
    assert (running.now_ms(), running.behind_ms()) == (NOW_MS + 1000, 0)


def test_a_correction_is_seen_once_and_followed_when_told(machine: Machine) -> None:
    """A machine that booted in 1970 learns the time: by decades at once."""
    machine.wall_ms = 5000
    running = SystemClock()
    assert running.now_ms() == 5000
    machine.wall_ms = NOW_MS
    assert (running.now_ms(), running.behind_ms()) == (5000, NOW_MS - 5000)
    running.follow(running.behind_ms())
    assert (running.now_ms(), running.behind_ms()) == (NOW_MS, 0)


@pytest.mark.parametrize(
    ("step_ms", "seen_ms"), [(0, 0), (STEP_MS_MIN - 1, 0), (STEP_MS_MIN, STEP_MS_MIN), (-STEP_MS_MIN, 0)]
)
def test_drift_is_no_correction(machine: Machine, step_ms: int, seen_ms: int) -> None:
    """A tenth of a second is what those who keep clocks step by; less they slew, and uptime with it."""
    running = SystemClock()
    machine.wall_ms += step_ms
    assert running.behind_ms() == seen_ms


def test_time_counts_on_while_the_machine_sleeps(machine: Machine) -> None:
    """Uptime includes suspended time: that is no correction."""
    running = SystemClock()
    machine.passes(8 * HOUR_MS)
    assert (running.now_ms(), running.behind_ms()) == (NOW_MS + 8 * HOUR_MS, 0)


def test_a_restart_within_the_boot_goes_by_uptime(machine: Machine) -> None:
    """Whatever was done to the wall clock meanwhile: five minutes of uptime are five minutes."""
    machine.uptime_ms += 300_000
    for wall_ms in (NOW_MS - 10 * HOUR_MS, NOW_MS + 300_000, NOW_MS + 10 * HOUR_MS):
        machine.wall_ms = wall_ms
        running = SystemClock(NOW_MS, Started())
        assert running.now_ms() == NOW_MS + 300_000
        assert running.behind_ms() == max(0, wall_ms - running.now_ms())


def test_after_another_boot_the_wall_clock_counts_but_never_backwards(machine: Machine) -> None:
    """Uptime tells nothing about the outage; without a battery the wall clock starts in the past."""
    machine.boot_id, machine.uptime_ms = "another boot", 20_000
    machine.wall_ms = NOW_MS + HOUR_MS
    assert SystemClock(NOW_MS + 1000, Started()).now_ms() == NOW_MS + HOUR_MS
    machine.wall_ms = 20_000
    assert SystemClock(NOW_MS + 1000, Started()).now_ms() == NOW_MS + 1000


def test_the_last_record_is_never_in_the_future(machine: Machine) -> None:
    """Recorded deadlines must not move away, even where the start on record is older than the last record."""
    assert SystemClock(NOW_MS + 77, Started()).now_ms() == NOW_MS + 77


def test_a_machine_without_a_boot_id_is_always_another_boot(machine: Machine) -> None:
    """Two empty ids do not make the same boot."""
    machine.boot_id, machine.wall_ms = "", NOW_MS + HOUR_MS
    assert SystemClock(NOW_MS, replace(Started(), boot_id="")).now_ms() == NOW_MS + HOUR_MS


def test_the_real_clock_agrees_with_the_machine() -> None:
    """Read from the kernel, without any of the above replaced."""
    running = SystemClock()
    before_ms = clock._wall_ms()
    assert abs(running.now_ms() - before_ms) < STEP_MS_MIN
    assert running.boot_id
    assert 0 < running.uptime_ms() <= running.uptime_ms()
    assert running.behind_ms() == 0


@pytest.mark.parametrize(
    ("wall_ms", "lost"),
    [(5000, True), (NOW_MS - HOUR_MS, True), (NOW_MS - LOST_MS_MIN, False), (NOW_MS + HOUR_MS, False)],
)
def test_a_clock_that_shows_what_has_passed_is_lost(machine: Machine, wall_ms: int, lost: bool) -> None:
    """So the start says on record; that of 1970 is lost even without anything on record."""
    machine.boot_id, machine.wall_ms = "another boot", wall_ms
    assert SystemClock(NOW_MS, Started()).is_lost is lost
    assert SystemClock().is_lost is (wall_ms == 5000)


def test_a_lost_clock_stays_lost_within_the_boot_until_it_is_corrected(machine: Machine) -> None:
    """A restart of the service corrects nothing."""
    machine.passes(10_000)
    running = SystemClock(NOW_MS, Started(is_clock_lost=True))
    assert running.is_lost
    running.follow(HOUR_MS)
    assert not running.is_lost


def test_what_a_lost_clock_timed_is_not_over_because_the_next_boot_knows_the_time(machine: Machine) -> None:
    """Boot in 1970, start a job, lose power, boot with the right time: the difference is a correction."""
    machine.boot_id, machine.wall_ms = "another boot", NOW_MS + 10 * HOUR_MS
    running = SystemClock(NOW_MS, Started(is_clock_lost=True))
    assert (running.now_ms(), running.behind_ms()) == (NOW_MS, 10 * HOUR_MS)


def test_a_second_that_a_lost_clock_is_behind_is_a_correction(machine: Machine) -> None:
    """Not followed, it would be taken from what runs when the next boot goes by the wall clock."""
    machine.boot_id, machine.wall_ms = "another boot", NOW_MS + 1400
    running = SystemClock(NOW_MS, Started(is_clock_lost=True))
    assert (running.now_ms(), running.behind_ms(), running.is_lost) == (NOW_MS, 1400, False)
