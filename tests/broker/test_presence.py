"""Who is connected to the embedded broker: counted by name, with the time of the last change."""

from thingjobs_broker.core.ports import Presence
from thingjobs_broker.presence import Connections


class Broker:
    """A time, things and subscriptions, as the plugin gives them."""

    def __init__(self, *, names_are_things: bool = True) -> None:
        self.now_ms = 1000
        self.subscribed: set[str] = set()
        self.connections = Connections(
            now_ms=lambda: self.now_ms,
            is_thing=lambda name: name == "T",
            is_subscribed=self.subscribed.__contains__,
            names_are_things=names_are_things,
        )


def test_a_thing_is_connected_from_its_first_connection_to_its_last() -> None:
    """A client that takes over its own session opens the new connection before the old one is closed."""
    broker = Broker()
    assert broker.connections.of("T") == Presence(is_connected=False)
    broker.connections.opened("T")
    broker.now_ms = 2000
    broker.connections.opened("T")
    broker.connections.closed("T")
    assert broker.connections.of("T") == Presence(is_connected=True, since_ms=1000, is_subscribed=False)
    broker.connections.closed("T")
    assert broker.connections.of("T") == Presence(is_connected=False, since_ms=2000)


def test_a_connected_thing_is_subscribed_if_it_hears_of_new_jobs() -> None:
    """By either of the two notifications."""
    for ending in ("notify", "notify-next"):
        broker = Broker()
        broker.connections.opened("T")
        broker.subscribed.add(f"$aws/things/T/jobs/{ending}")
        assert broker.connections.of("T").is_subscribed is True


def test_nothing_is_kept_of_clients_that_are_no_things() -> None:
    """A command line has a new name each time; there is no end of them."""
    broker = Broker()
    for number in range(100):
        broker.connections.opened(f"cli-{number}")
        broker.connections.closed(f"cli-{number}")
    assert broker.connections._since_ms == {}
    assert dict(broker.connections._open) == {}


def test_without_identities_a_thing_may_be_connected_under_any_name() -> None:
    """Then its absence is not claimed, unless it was here under its own name; its subscriptions tell."""
    broker = Broker(names_are_things=False)
    assert broker.connections.of("T") == Presence()
    broker.subscribed.add("$aws/things/T/jobs/notify-next")
    assert broker.connections.of("T") == Presence(is_connected=True, is_subscribed=True)
    broker.subscribed.clear()
    broker.connections.opened("T")
    broker.connections.closed("T")
    assert broker.connections.of("T") == Presence(is_connected=False, since_ms=1000)
