"""The protocol edge of the embedded broker: MQTT 3.1.1 and 5 in front of amqtt.

What lies under the topic root never reaches amqtt: publishes go to an Endpoint and are acknowledged when it
has settled them, subscriptions are kept here, messages go straight to the sockets. amqtt serves all else.
The front knows nothing of jobs.
"""

from thingjobs_broker.front.endpoint import Client, Endpoint, ReplyTo
from thingjobs_broker.front.limits import CloseReason, FrontLimits, FrontStats
from thingjobs_broker.front.listener import Front

__all__ = ["Client", "CloseReason", "Endpoint", "Front", "FrontLimits", "FrontStats", "ReplyTo"]
