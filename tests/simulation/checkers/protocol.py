"""What is promised about single requests and executions (architecture 4.2, 4.3, 4.7, 4.8)."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.simulation.checkers.base import PENDING, Checker, executions, found
from tests.simulation.checkers.durability import Key, NothingToldIsLost, Told
from thingjobs_broker.core.records import ExecutionChanged, ExecutionQueued, Record
from thingjobs_broker.core.state import Execution, State
from thingjobs_protocol.status import TERMINAL

if TYPE_CHECKING:
    from tests.simulation.world import World

ENDINGS = ("accepted", "rejected")


class OneReplyEach(Checker):
    """Exactly one of accepted or rejected for each request, to who asked, before it is acknowledged."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._open: Counter[tuple[str, Any]] = Counter()
        self._replied: Counter[tuple[str, Any]] = Counter()

    def restarted(self) -> None:
        self._open.clear()
        self._replied.clear()

    def asked(self, topic: str, body: Any) -> None:
        self._open[topic, token_of(body)] += 1

    def said(self, topic: str, body: Any, position: int) -> None:
        request, _, ending = topic.rpartition("/")
        if ending in ENDINGS and "/events/" not in topic:
            key = request, token_of(body)
            self._replied[key] += 1
            if self._replied[key] > self._open[key]:
                self.broken(f"{topic} answers a request that nobody has made: {key}")

    def settled(self, topic: str, body: Any) -> None:
        key = topic, token_of(body)
        if not topic.startswith("$aws/") or _is_no_request(topic):
            return
        self._open[key] -= 1
        self._replied[key] -= 1
        if self._replied[key] < 0:
            self.broken(f"{topic} was acknowledged without an answer")


def token_of(body: Any) -> Any:
    token = body.get("clientToken") if isinstance(body, dict) else None
    return token if isinstance(token, str) else None


def _is_no_request(topic: str) -> bool:
    return topic.startswith("$aws/control/") and topic.count("/") != 3


class VersionByOne(Checker):
    """The version of an execution grows by exactly one at each change but a removal (data plane 4.3)."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._before: tuple[int, str] | None = None
        self._said: dict[tuple[str, str, int, int], int] = {}

    def before(self, state: State, record: Record) -> None:
        self._before = None
        if isinstance(record, ExecutionChanged):
            one = found(state, record)
            self._before = (one.version_number, one.status) if one is not None else None

    def applied(self, state: State, record: Record) -> None:
        if not isinstance(record, ExecutionChanged) or self._before is None:
            return
        one = found(state, record)
        version, _ = self._before
        if one is None:
            self.broken(f"{record.thing_name} lost {record.job_id} by a change of it")
            return
        if one.version_number != version + (one.status != "REMOVED"):
            self.broken(f"{_name(one)} went from version {version} to {one.version_number}")


class TerminalStaysTerminal(Checker):
    """What has ended stays as it ended, and there is one execution at work for each thing and job."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._before: Execution | None = None
        self._status = ""

    def before(self, state: State, record: Record) -> None:
        if isinstance(record, ExecutionChanged):
            one = found(state, record)
            if one is not None and one.status in TERMINAL:
                self.broken(f"{_name(one)} is {one.status} and is changed to {record.status}")
        elif isinstance(record, ExecutionQueued):
            newest = state.things[record.thing_name].executions.get(record.job_id)
            if newest is not None and newest.status in PENDING:
                self.broken(f"{_name(newest)} is {newest.status} and gets another one beside it")


class UpdatesAreAsAsked(Checker):
    """An accepted update has the status that was asked for, on the version that was expected, and is new."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._asked: dict[tuple[str, str], dict[str, Any]] = {}
        self._versions: dict[tuple[str, str, int], int] = {}
        self._queued_at: dict[tuple[str, str, int], int] = {}

    def asked(self, topic: str, body: Any) -> None:
        if topic.endswith("/update") and token_of(body) is not None:
            self._asked[topic, body["clientToken"]] = body

    def applied(self, state: State, record: Record) -> None:
        if isinstance(record, ExecutionQueued):
            key = record.thing_name, record.job_id, record.execution_number
            self._queued_at[key] = record.at_ms // 1000
            self._versions.pop(key, None)

    def restarted(self) -> None:
        # What was not said may not have been; what was said is the ledger's to remember.
        self._versions.clear()

    def said(self, topic: str, body: Any, position: int) -> None:
        if not topic.endswith("/update/accepted") or "executionState" not in body:
            return
        asked = self._asked.get((topic.removesuffix("/accepted"), body.get("clientToken", "")))
        if asked is None:
            return
        state = body["executionState"]
        if state["status"] != asked["status"]:
            self.broken(f"{topic}: asked for {asked['status']}, got {state['status']}")
        expected = asked.get("expectedVersion")
        if expected is not None and state["versionNumber"] != int(expected) + 1:
            self.broken(f"{topic}: expected version {expected}, got {state['versionNumber']}")
        number = asked.get("executionNumber")
        if number is None:
            return
        thing, job_id = topic.split("/")[2], topic.split("/")[4]
        key = thing, job_id, number
        if state["versionNumber"] <= self._versions.get(key, 0):
            self.broken(f"{topic}: version {state['versionNumber']} was given to an earlier update")
        self._versions[key] = state["versionNumber"]
        if key in self._queued_at:
            self._remember((*key, self._queued_at[key]), Told(state["versionNumber"], state["status"]))

    def _remember(self, key: Key, told: Told) -> None:
        for checker in self.world.checkers:
            if isinstance(checker, NothingToldIsLost):
                checker.accepted(key, told)


class DevicesAreApart(Checker):
    """A device hears of its own executions only, and of what it said itself."""

    def heard(self, name: str, topic: str, payload: bytes) -> None:
        if not topic.startswith(f"$aws/things/{name}/jobs/"):
            self.broken(f"{name} hears {topic}")

    def said(self, topic: str, body: Any, position: int) -> None:
        levels = topic.split("/")
        if levels[1] != "things" or not isinstance(body, dict):
            return
        thing = levels[2]
        for part in ("execution", "executionState"):
            who = ((body.get(part) or {}).get("statusDetails") or {}).get("who", thing)
            if who != thing:
                self.broken(f"{topic} shows what {who} reported")


class CountsAreRecounts(Checker):
    """Whatever is kept counted equals a recount (architecture 4.8)."""

    def recovered(self, state: State, position: int) -> None:
        self._recount(state)

    def looked(self) -> None:
        state = self.world.tap.state
        if state is not None:
            self._recount(state)

    def ended(self) -> None:
        self.looked()

    def _recount(self, state: State) -> None:
        everything = executions(state)
        counted = Counter((one.job_id, one.status.value) for one in everything)
        for job in state.jobs.values():
            for status, count in job.counts.items():
                if count != counted[job.job_id, status]:
                    right = counted[job.job_id, status]
                    self.broken(f"{job.job_id} counts {count} {status}, there are {right}")
            listed = [one for one in job.executions if one is not None]
            if len(listed) != sum(one.job_id == job.job_id for one in everything):
                self.broken(f"{job.job_id} lists {len(listed)} executions")
        for thing in state.things.values():
            mine = [one for one in everything if one.thing_name == thing.thing_name]
            running = sum(one.status == "IN_PROGRESS" for one in mine)
            if thing.in_progress_count != running:
                self.broken(f"{thing.thing_name} counts {thing.in_progress_count} at work, not {running}")
            pending = sorted((one for one in mine if one.status in PENDING), key=_position)
            if [_name(one) for one in thing.pending.values()] != [_name(one) for one in pending]:
                self.broken(f"{thing.thing_name} has not pending what is pending")


def _name(one: Execution) -> str:
    return f"{one.thing_name}/{one.job_id}/{one.execution_number}"


def _position(one: Execution) -> int:
    return one.queue_position
