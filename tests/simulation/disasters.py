"""What goes wrong in a world, and when: power, processes, disk, clock, network, broker, devices."""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.machine import BOOT_OF_1970_MS

if TYPE_CHECKING:
    from tests.simulation.world import World

PAUSE_SECONDS = (2.0, 120.0)
FAULTY = ("write", "sync_data", "sync", "create", "truncate", "rename", "remove", "sync_directory", "read")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS)


class Disasters:
    """Strikes at random until `is_over`."""

    def __init__(self, world: "World") -> None:
        self.is_over = False
        self._world = world
        self._schedule = world.schedule
        everything: list[Callable[[], None]] = [
            *[self._kill] * 3,
            *[self._cut_power] * 3,
            *[self._die_at_write] * 6,
            *[self._break_links] * 4,
            *[self._crash_device] * 4,
            *(self._stop, self._restart_broker, self._disk_fails, self._disk_fails, self._disk_fills),
            *(self._storm, self._storm, self._clock, self._clock),
        ]
        # Each world has its own troubles, so that some go deep where others go wide.
        self._kinds = world.schedule.random.sample(everything, world.schedule.random.randint(3, 12))
        self._pause_seconds = world.schedule.random.choice([(1.0, 40.0), PAUSE_SECONDS])

    def strike_later(self) -> None:
        self._schedule.after(self._schedule.seconds(*self._pause_seconds), self._strike)

    def end(self) -> None:
        """From now on everything works."""
        self.is_over = True
        world = self._world
        world.network.weather.clear()
        world.network.broker.come_up()
        disk = world.machine.disk
        disk.faults.clear()
        disk.capacity_bytes = None
        disk.changes_left = None
        world.schedule.note("calm")

    def _strike(self) -> None:
        if not self.is_over:
            self._schedule.random.choice(self._kinds)()
            self.strike_later()

    # The machine

    def _kill(self) -> None:
        self._world.machine.kill()

    def _cut_power(self) -> None:
        self._world.machine.cut_power()

    def _stop(self) -> None:
        self._world.machine.stop()

    def _die_at_write(self) -> None:
        changes = self._schedule.random.choice([1, 2, 3, 5, 8, 13, 30])
        self._world.machine.die_at_write(changes, cuts_power=self._schedule.chance(0.7))

    def _disk_fails(self) -> None:
        random = self._schedule.random
        operation, error = random.choice(FAULTY), random.choice(ERRORS)
        self._schedule.note("disk fault", operation, error)
        self._world.machine.disk.fail(operation, error, skip=random.randint(0, 3), times=random.randint(1, 4))

    def _disk_fills(self) -> None:
        disk = self._world.machine.disk
        self._schedule.note("disk full")
        disk.capacity_bytes = disk._used_bytes() + self._schedule.random.choice([0, 200, 40_000, 60_000])

        def empty() -> None:
            self._world.machine.disk.capacity_bytes = None

        self._schedule.after(self._schedule.seconds(5.0, 60.0), empty)

    def _clock(self) -> None:
        offset_ms = self._schedule.random.choice([-86_400_000, -60_000, -3000, 0, 4000, 60_000, 3_600_000])
        if self._world.machine.wall_offset_ms == BOOT_OF_1970_MS:
            # Set to a time that is behind, and right while the power is off: nobody can tell this from a
            # longer outage.
            offset_ms = max(0, offset_ms)
        self._world.machine.set_wall(offset_ms)

    # The network

    def _break_links(self) -> None:
        broker = self._world.network.broker
        for client_id in broker.connections():
            if self._schedule.chance(0.4):
                broker.break_connection(client_id, broker_notices_seconds=self._schedule.seconds(0.1, 40.0))

    def _restart_broker(self) -> None:
        keeps = self._schedule.chance(0.6)
        self._schedule.note("broker down", keeps)
        self._world.network.broker.go_down(keeps_sessions=keeps)
        self._schedule.after(self._schedule.seconds(0.5, 30.0), self._world.network.broker.come_up)

    def _storm(self) -> None:
        weather, random = self._world.network.weather, self._schedule.random
        weather.latency_seconds = random.choice([0.02, 0.5, 4.0])
        weather.stall_chance = random.choice([0.0, 0.02])
        weather.repeat_chance = random.choice([0.0, 0.05, 0.3])
        self._schedule.after(self._schedule.seconds(5.0, 90.0), weather.clear)

    # The devices

    def _crash_device(self) -> None:
        random = self._schedule.random
        device = random.choice(self._world.devices)
        if device in self._world.agents and random.random() < 0.7:
            agent = self._world.agents[self._world.agents.index(device)]
            if random.random() < 0.3:
                agent.restart()
            else:
                agent.cut_after = random.randint(0, 6)
        else:
            device.crash()
