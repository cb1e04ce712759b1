"""The HTTP front: the rest-json API of AWS's `iot` and `iot-jobs-data` on the same core calls as MQTT.

    request -> server (limits) -> api (who asks, what for) -> host.answer -> core
                                    sigv4, access_keys        routes, rest_json

Nothing here decides what an operation does, or waits for the disk: an answer leaves when it is durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.config import ServiceSettings
    from thingjobs_broker.host import ServiceHost
    from thingjobs_broker.http.application import HttpFront


def http_front(
    settings: ServiceSettings, host: ServiceHost, gauges: Callable[[], dict[str, float]]
) -> HttpFront | None:
    """Return the HTTP front, None where it is off: then none of its libraries is loaded.

    `gauges` tells what only the adapter knows, by the names in `http.metrics.GAUGES`.

    Raises:
        StartError: its settings cannot work.

    """
    if not settings.http.listen:
        return None
    from thingjobs_broker.http.application import HttpFront  # noqa: PLC0415 - see above

    return HttpFront(settings, host, gauges)
