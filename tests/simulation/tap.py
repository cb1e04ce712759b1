"""Where the checkers listen: what reaches the service and leaves it, each step, each recovery, each device.

It watches doors (the sidecar's, the commits', the state's `apply`, the store's `load`) and changes nothing.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulation.network import SERVICE, Broker, Endpoint
from tests.simulation.service_link import ServiceLink
from thingjobs_agent.events import FinishWork, StartStep
from thingjobs_agent.work import Checkpoint
from thingjobs_broker.commits import Commits
from thingjobs_broker.core.outcome import Message, Outcome
from thingjobs_broker.core.records import Record
from thingjobs_broker.core.state import State
from thingjobs_broker.data_packets import Received
from thingjobs_broker.host import ServiceHost
from thingjobs_broker.sidecar import Sidecar
from thingjobs_broker.store.store import Store

if TYPE_CHECKING:
    from tests.simulation.world import World


class Tap:
    """Hands everything to the checkers, and keeps what several of them need."""

    def __init__(self, world: "World") -> None:
        self.request: tuple[str, Any] | None = None
        """Topic and body of what the core is being asked at the moment."""
        self.entries: dict[int, list[Record]] = {}
        """The records of each journal position, as the service meant them."""
        self.positions: dict[int, tuple[Message, int]] = {}
        """By the identity of a message that has not left, the position it must wait for."""
        self._world = world

    def listen_to(self, _sidecar: Sidecar) -> None:
        """A service starts: what the one before had in hand will never leave."""
        self.positions.clear()
        for checker in self._world.checkers:
            checker.restarted()

    def replace(self, patch: pytest.MonkeyPatch) -> None:
        """Begin to listen."""
        patch.setattr(Commits, "add", self._add(Commits.add))
        patch.setattr(State, "apply", self._apply(State.apply))
        patch.setattr(Store, "load", self._load(Store.load))
        patch.setattr(Sidecar, "publish", self._publish(Sidecar.publish))
        patch.setattr(ServiceHost, "receive", self._receive(ServiceHost.receive))
        patch.setattr(Broker, "accept", self._accept(Broker.accept))
        patch.setattr(Broker, "publish", self._arrive(Broker.publish))
        patch.setattr(ServiceLink, "_take", self._take(ServiceLink._take))
        patch.setattr(ServiceLink, "acknowledge", self._acknowledge(ServiceLink.acknowledge))

    @property
    def state(self) -> State | None:
        """What is served."""
        runner = self._world.machine.runner
        return runner.state if runner is not None else None

    # Doors

    def _add(self, add: Callable[..., None]) -> Callable[..., None]:
        def tapped(
            commits: Commits,
            outcome: Outcome,
            settled: Callable[[], None] | None = None,
            refusal: Callable[[int], Outcome] | None = None,
        ) -> None:
            before = commits.position
            add(commits, outcome, settled, refusal)
            if commits.position != before:
                self.entries[commits.position] = outcome.records
            for message in outcome.messages:
                self.positions[id(message)] = message, commits.position
            for checker in self._world.checkers:
                checker.stepped(outcome)

        return tapped

    def _apply(self, apply: Callable[[State, Record], None]) -> Callable[[State, Record], None]:
        def tapped(state: State, record: Record) -> None:
            if state is not self.state:
                apply(state, record)
                return
            for checker in self._world.checkers:
                checker.before(state, record)
            apply(state, record)
            for checker in self._world.checkers:
                checker.applied(state, record)

        return tapped

    def _load(self, load: Callable[..., State]) -> Callable[..., State]:
        def tapped(store: Store, *, read_only: bool = False) -> State:
            state = load(store, read_only=read_only)
            self._world.schedule.note("recovered", store.position)
            for checker in self._world.checkers:
                checker.recovered(state, store.position)
            return state

        return tapped

    def _publish(self, publish: Callable[[Sidecar, Message], None]) -> Callable[[Sidecar, Message], None]:
        def tapped(sidecar: Sidecar, message: Message) -> None:
            payload = message.payload()
            self._world.schedule.note("said", message.topic, payload.decode())
            body = decoded(payload)
            _, position = self.positions.pop(id(message), (message, 0))
            for checker in self._world.checkers:
                checker.said(message.topic, body, position)
            publish(sidecar, message)

        return tapped

    def _receive(self, receive: Callable[..., int]) -> Callable[..., int]:
        def tapped(
            host: ServiceHost, topic: str, payload: bytes, by: str | None, settled: Callable[[], None]
        ) -> int:
            body = decoded(payload)
            self._world.schedule.note("asked", topic, payload[:200])

            def answered() -> None:
                for checker in self._world.checkers:
                    checker.settled(topic, body)
                settled()

            for checker in self._world.checkers:
                checker.asked(topic, body)
            self.request = topic, body
            try:
                return receive(host, topic, payload, by, answered)
            finally:
                self.request = None

        return tapped

    # Between the service and the broker

    def _accept(self, accept: Callable[..., bool | None]) -> Callable[..., bool | None]:
        def tapped(broker: Broker, endpoint: Endpoint, *given: Any, **options: Any) -> bool | None:
            if endpoint.user == SERVICE:
                for checker in self._world.checkers:
                    checker.reconnected()
            return accept(broker, endpoint, *given, **options)

        return tapped

    def _arrive(self, publish: Callable[..., None]) -> Callable[..., None]:
        def tapped(broker: Broker, endpoint: Endpoint, packet_id: int, topic: str, payload: bytes) -> None:
            publish(broker, endpoint, packet_id, topic, payload)
            if endpoint.user == SERVICE:
                body = decoded(payload)
                for checker in self._world.checkers:
                    checker.arrived(topic, body)

        return tapped

    def _take(self, take: Callable[[ServiceLink, Received], None]) -> Callable[[ServiceLink, Received], None]:
        def tapped(link: ServiceLink, message: Received) -> None:
            if message.packet_id:
                for checker in self._world.checkers:
                    checker.brought(message.packet_id)
            take(link, message)

        return tapped

    def _acknowledge(self, acknowledge: Callable[[ServiceLink, int], None]) -> Callable[..., None]:
        def tapped(link: ServiceLink, packet_id: int) -> None:
            topic, payload = link.requests[packet_id]
            acknowledge(link, packet_id)
            body = decoded(payload)
            for checker in self._world.checkers:
                checker.acknowledged(packet_id, topic, body, is_dropped=link.is_dropping)

        return tapped

    # Devices

    def heard(self, name: str, topic: str, payload: bytes) -> None:
        self._world.schedule.note("heard", name, topic, len(payload))
        for checker in self._world.checkers:
            checker.heard(name, topic, payload)

    def step_started(self, thing_name: str, command: StartStep, checkpoint: Checkpoint) -> None:
        for checker in self._world.checkers:
            checker.step_started(thing_name, command, checkpoint)

    def job_finished(self, thing_name: str, command: FinishWork) -> None:
        self._world.schedule.note("finished", thing_name, *command.identity, command.report.status)


def decoded(payload: bytes) -> Any:
    """The JSON value in a payload, None for what is none."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None
