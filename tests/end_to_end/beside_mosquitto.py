"""A Mosquitto as `thingjobs init` sets it up, and `thingjobs serve` beside it, as programs of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.broker.beside import Mosquitto
from tests.end_to_end.harness import THINGJOBS, Restartable, Service
from tests.support import free_port
from thingjobs_broker.provision.setup import Setup

PORTS = ("1883", "8883", "8884")
DEVICE = "press-7"


class ServiceBeside(Service):
    """`thingjobs serve`; the client commands of `Service` go to its broker."""

    def __init__(self, folder: Path, broker: str, *arguments: str) -> None:
        self.broker = broker
        self.data_dir = folder / "data"
        command = [*THINGJOBS, "serve", "--data-dir", str(self.data_dir), *arguments]
        Restartable.__init__(self, "serve", command, folder, ready="serving beside ")


@contextmanager
def serving(folder: Path, broker: Mosquitto, *arguments: str) -> Iterator[ServiceBeside]:
    """A service beside a broker that lets everybody do everything."""
    service = ServiceBeside(folder, broker.url, "--broker", broker.url, "--insecure", *arguments)
    service.start()
    try:
        yield service
    finally:
        service.stop()


class Provisioned:
    """The directory that `thingjobs init` makes, with a device; only the ports are free ones."""

    def __init__(self, folder: Path) -> None:
        self.layout = Setup(folder / "setup").layout
        Setup(folder / "setup").create(["localhost"], "mosquitto")
        Setup(folder / "setup").add_device(DEVICE)
        self.ports = {port: str(free_port()) for port in PORTS}
        self.service_settings = str(self.layout.service.service_settings)
        operator = self.layout.operator("thingjobs-operator")
        device = self.layout.device(DEVICE)
        for path in (
            *(self.layout.mosquitto_conf, self.layout.service.service_settings),
            *(operator.environment, device.settings),
        ):
            text = path.read_text(encoding="utf-8")
            for shipped, port in self.ports.items():
                text = text.replace(shipped, port)
            path.write_text(text, encoding="utf-8")
        self.operator_options = (
            *("--broker", f"mqtts://thingjobs-operator@localhost:{self.ports['8883']}"),
            *("--password-file", str(operator.password), "--ca-file", str(operator.ca)),
        )
        self.device_options = ("--device", DEVICE, "--device-password-file", str(device.password))
        self.agent_settings = str(device.settings)

    def mosquitto(self) -> Mosquitto:
        """The broker, to be started."""
        config = self.layout.mosquitto_conf.read_text(encoding="utf-8")
        return Mosquitto(self.layout.broker, int(self.ports["1883"]), config)
