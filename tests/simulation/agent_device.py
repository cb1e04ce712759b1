"""A device with the true agent: its machine, inbox and checkpoint format; handlers and power are made up.

The power can fail between any two commands. A stored checkpoint is on disk whole or not at all, which is what
tests/agent/test_power_cut.py shows of the true files.
"""

from collections.abc import Callable

from tests.simulation.client import Client
from tests.simulation.schedule import Event, Schedule
from thingjobs_agent.agent import Agent
from thingjobs_agent.events import (
    CheckHandlers,
    Command,
    Connected,
    Disconnected,
    FinishWork,
    HandlersChecked,
    Input,
    Reboot,
    Send,
    ShutDown,
    StartStep,
    StepExited,
    StepProgressed,
    Stop,
    StopStep,
    StoreCheckpoint,
)
from thingjobs_agent.inbox import Inbox
from thingjobs_agent.machine.state import Limits
from thingjobs_agent.work import Checkpoint, decode_checkpoint, encode_checkpoint
from thingjobs_protocol.codec import encode
from thingjobs_protocol.topics import DEFAULT_ROOT, request_topic

STEP_SECONDS = (0.1, 60.0)
BACK_SECONDS = (0.5, 20.0)


class AgentDevice:
    """One device. `started` is told of each step that begins: whose, which and on which restart of the job;
    `finished` of each result that the service has settled.
    """

    def __init__(
        self,
        schedule: Schedule,
        client: Client,
        started: Callable[[str, StartStep, Checkpoint], None],
        finished: Callable[[str, FinishWork], None],
    ) -> None:
        self.thing_name = client.user
        self.client = client
        self.cut_after: int | None = None
        """Commands until the power fails."""
        self._schedule = schedule
        self._started = started
        self._finished = finished
        self._disk: bytes | None = None
        self._inbox = Inbox(self.thing_name, DEFAULT_ROOT)
        self._agent: Agent | None = None
        self._timer: Event | None = None
        self._lives = 0
        self._boots = 1
        self._running = 0
        """The number of the step that runs, 0 for none; a step of an earlier life ends unheard."""
        self._steps = 0
        client.heard = self._heard
        client.connected = lambda: self._give(Connected())
        client.disconnected = lambda: self._give(Disconnected())

    def switch_on(self) -> None:
        """Begin a life of the agent from what is on disk."""
        if self._agent is not None:
            return
        self._lives += 1
        self.cut_after = None
        self._agent = Agent(
            limits=Limits(),
            token_prefix=f"{self.thing_name}-life{self._lives}-",
            jitter=self._schedule.random.random,
            checkpoint=None if self._disk is None else decode_checkpoint(self._disk),
            boot_id=f"boot{self._boots}",
        )
        self._carry_out(self._agent.start(self._now_ms()))
        self.client.switch_on()

    def crash(self) -> None:
        """The power fails."""
        self._end()
        self._boots += 1
        self._schedule.after(self._schedule.seconds(*BACK_SECONDS), self.switch_on)

    def restart(self) -> None:
        """Ask the agent to stop, as an update of it does; it is started again."""
        self._give(ShutDown())

    def _end(self) -> None:
        self._agent = None
        self._running = 0
        self.client.switch_off()

    def _now_ms(self) -> int:
        return self._schedule.now_us // 1000

    # Inputs

    def _heard(self, topic: str, payload: bytes) -> None:
        given = self._inbox.read(topic, payload)
        if given is not None:
            self._give(given)

    def _give(self, given: Input) -> None:
        if self._agent is not None:
            self._carry_out(self._agent.handle(given, self._now_ms()))

    def _fire(self) -> None:
        self._timer = None
        if self._agent is not None:
            self._carry_out(self._agent.fire_timers(self._now_ms()))

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.drop()
            self._timer = None
        deadline_ms = self._agent.next_deadline_ms() if self._agent is not None else None
        if deadline_ms is not None:
            self._timer = self._schedule.at(max(deadline_ms, self._now_ms() + 1) * 1000, self._fire)

    # Commands

    def _carry_out(self, commands: list[Command]) -> None:
        agent = self._agent
        for command in commands:
            if self.cut_after is not None:
                if self.cut_after == 0:
                    self._schedule.note("agent cut", self.thing_name)
                    self.crash()
                    return
                self.cut_after -= 1
            self._carry_out_one(command)
            if self._agent is not agent:
                return
        self._rearm()

    def _carry_out_one(self, command: Command) -> None:
        match command:
            case StoreCheckpoint(checkpoint):
                self._disk = encode_checkpoint(checkpoint)
            case Send(api, job_id, message):
                self.client.publish(request_topic(api, self.thing_name, job_id), encode(message))
            case CheckHandlers():
                life = self._lives
                refusals = ((0, "is not there"),) if self._schedule.chance(0.05) else ()
                self._later(0.01, life, HandlersChecked(refusals))
            case StartStep():
                self._start_step(command)
            case StopStep():
                running, self._running = self._running, 0
                if running:
                    self._later(self._schedule.seconds(0.01, 5.0), self._lives, StepExited(signal_number=15))
            case Reboot():
                self._boots += 1
                self._end()
                self._schedule.after(self._schedule.seconds(*BACK_SECONDS), self.switch_on)
            case Stop():
                self._end()
                self._schedule.after(self._schedule.seconds(*BACK_SECONDS), self.switch_on)
            case FinishWork():
                self._finished(self.thing_name, command)

    def _start_step(self, command: StartStep) -> None:
        assert self._disk is not None, "nothing was stored before a step"
        self._schedule.note("step", self.thing_name, *command.identity, command.label)
        self._started(self.thing_name, command, decode_checkpoint(self._disk))
        self._steps += 1
        self._running = number = self._steps
        seconds = self._schedule.seconds(*STEP_SECONDS)
        if self._schedule.chance(0.3):
            self._schedule.after(seconds / 2, lambda: self._progress(number))
        self._schedule.after(seconds, lambda: self._exit(number))

    def _progress(self, number: int) -> None:
        if number == self._running:
            self._give(StepProgressed({"half": str(number)}))

    def _exit(self, number: int) -> None:
        if number == self._running:
            self._running = 0
            failed = self._schedule.chance(0.2)
            self._give(StepExited(exit_status=1 if failed else 0))

    def _later(self, seconds: float, life: int, given: Input) -> None:
        def give() -> None:
            if life == self._lives:
                self._give(given)

        self._schedule.after(seconds, give)
