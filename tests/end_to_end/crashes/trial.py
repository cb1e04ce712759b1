"""A fleet at work on a service that is ended again and again; what was told is compared each time."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.end_to_end.crashes.fleet import Fleet
from tests.end_to_end.crashes.ledger import Ledger
from tests.end_to_end.crashes.sites import Site
from tests.end_to_end.harness import thingjobs

DEVICES = 50


class Trial:
    """What happens to one site, drawn from one seed. `report` tells in a line what was done."""

    def __init__(self, site: Site, data_dir: Path, seed: int, *, deaf: bool = True) -> None:
        self.site = site
        self.data_dir = data_dir
        self.seed = seed
        self.random = Random(seed)
        self.ledger = Ledger(redelivers=site.broker is not None)
        self.fleet = Fleet(DEVICES, self.ledger, seed, deaf=deaf)
        self.crashes = 0
        self.compared = 0
        self.after_death: Callable[[], None] = lambda: None
        """Called when the service is dead, before it is started again."""
        self.end_service: Callable[[], None] = site.program.kill
        """Ends the service as the trial is about."""

    async def run(self, crashes: int) -> None:
        """Crash so often; stop at the first difference."""
        self.site.program.start()
        await self.site.program.ready()
        async with self.fleet.at_work(self.site.port):
            while self.crashes < crashes and not self.ledger.differences:
                self.crashes += 1
                await self.one_life()
                await self._compare()
            await self._compare(everything=True)
        assert self.site.program.stop() == 0, self.site.program.said()[-2000:]

    async def one_life(self) -> None:
        """Let the service work for a while, end it, and start it again until it serves."""
        # The first snapshot of a life is due after a second: one life in four may end in the middle of it.
        seconds = self.random.choice([0.15, 0.3, 0.5, 1.5]) * self.random.random()
        await asyncio.sleep(seconds)
        if self.random.random() < 0.15:
            # In the middle of a clean stop, and of its snapshot.
            self.site.program.signal(signal.SIGTERM)
            await asyncio.sleep(0.15 * self.random.random())
        self._end()
        while self.random.random() < 0.2:
            # In the middle of the recovery.
            self.site.program.start()
            await asyncio.sleep(0.1 * self.random.random())
            self._end()
            self.crashes += 1
        self.site.program.start()
        await self.site.program.ready()

    def _end(self) -> None:
        self.end_service()
        self.after_death()

    async def _compare(self, *, everything: bool = False) -> None:
        self.compared += await self.fleet.compare(everything=everything)

    def check_store(self) -> None:
        """What a stopped service has left is sound, by its own account."""
        thingjobs("store", "check", "--data-dir", str(self.data_dir))

    @property
    def report(self) -> str:
        """What was done, for the one who runs the test."""
        return (
            f"seed {self.seed}: {self.crashes} crashes, {self.site.program.starts} starts,"
            f" {self.fleet.answered} requests answered, {self.ledger.facts} facts told,"
            f" {len(self.ledger.executions())} executions, {self.compared} compared,"
            f" {len(self.ledger.differences)} differences"
        )


class BrokerTrial(Trial):
    """The broker is killed beside the service, and now and then both at once."""

    async def one_life(self) -> None:
        """Let all work for a while, end the broker, and start it again."""
        broker, program = self.site.broker, self.site.program
        assert broker is not None
        await asyncio.sleep(self.random.random())
        with_service = self.random.random() < 0.3
        broker.kill()
        if with_service:
            program.kill()
        await asyncio.sleep(0.3 * self.random.random())
        broker.start()
        if with_service:
            program.start()
            await program.ready()
