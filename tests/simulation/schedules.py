"""When the jobs of a world may run: what an operator may ask for, and when such windows are open."""

from typing import Any, NamedTuple

from tests.simulation.schedule import Schedule

EPOCH_S = 1_700_000_000
"""What a right clock shows when a world begins."""

MINUTE_S = 60
ENDS = ("STOP_ROLLOUT", "CANCEL", "FORCE_CANCEL")


class Window(NamedTuple):
    """Opens at each of these minutes of the hour, and every so many after."""

    first: int
    every: int
    minutes: int

    @property
    def configuration(self) -> dict[str, Any]:
        """As CreateJob takes it."""
        cron = f"cron({self.first}/{self.every} * * * ? *)"
        return {"startTime": cron, "durationInMinutes": self.minutes}

    def is_open(self, at_s: float) -> bool:
        """Tell whether it is open; `every` divides an hour, and `first` and `minutes` are less."""
        return (at_s / MINUTE_S - self.first) % self.every < self.minutes


WINDOWS = (Window(0, 10, 4), Window(5, 15, 6), Window(0, 3, 1), Window(1, 3, 2), Window(0, 2, 1))
BY_CRON = {window.configuration["startTime"]: window for window in WINDOWS}


def windows_of(options: dict[str, Any]) -> list[Window]:
    """The windows of a job, by its options."""
    given = options.get("schedulingConfig", {}).get("maintenanceWindows") or []
    return [BY_CRON[one["startTime"]] for one in given]


def end_s(options: dict[str, Any]) -> int | None:
    """The endTime of a job, None without."""
    end = options.get("schedulingConfig", {}).get("endTime")
    return int(end) if end is not None else None


def drawn(schedule: Schedule, *, is_continuous: bool) -> dict[str, Any]:
    """A schedulingConfig, or nothing."""
    random, chance = schedule.random, schedule.chance
    now_s = schedule.now_us // 1_000_000 + EPOCH_S
    config: dict[str, Any] = {}
    if is_continuous and chance(0.5):
        count = 2 if chance(0.2) else 1
        config["maintenanceWindows"] = [one.configuration for one in random.sample(WINDOWS, count)]
    elif chance(0.15):
        config["startTime"] = str(now_s + random.randint(10, 200))
    if chance(0.3):
        config["endTime"] = str(now_s + random.randint(*random.choice([(60, 300), (300, 900)])))
        if chance(0.8):
            config["endBehavior"] = random.choice(ENDS)
    return {"schedulingConfig": config} if config else {}
