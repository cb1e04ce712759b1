"""The pending executions of a thing: their order, the front, and what the lists show."""

import hypothesis
import hypothesis.strategies as st

from tests.broker.core.world import World
from thingjobs_broker.core import pending
from thingjobs_broker.core.state import Execution
from thingjobs_protocol.limits import PENDING_JOBS_SHOWN_MAX
from thingjobs_protocol.status import JobExecutionStatus as Status


def world_with(*running: str, queued: str) -> World:
    """Jobs named by single letters, queued in the order of `queued`; those in `running` are started."""
    world = World("T")
    for job_id in queued:
        world.create_job(job_id)
    for job_id in running:
        world.advance(1000)
        world.update("T", job_id, "IN_PROGRESS")
    return world


def ids(executions: list[Execution]) -> str:
    return "".join(execution.job_id for execution in executions)


def test_nothing_is_the_front_of_nothing() -> None:
    """Data plane 2.5: `$next` with nothing pending."""
    thing = World("T").thing("T")
    assert pending.front(thing) is None
    assert pending.front_identity(thing) is None
    assert pending.in_progress(thing) == []
    assert pending.shown(thing, 10) == ([], [])


def test_the_oldest_queued_execution_is_the_front() -> None:
    """Data plane 4.5."""
    assert pending.front_identity(world_with(queued="ABC").thing("T")) == ("A", 1)


def test_a_running_execution_is_the_front_wherever_it_was_queued() -> None:
    """Data plane 4.5, 1."""
    assert pending.front_identity(world_with("C", queued="ABC").thing("T")) == ("C", 1)


def test_of_running_executions_the_one_queued_earliest_is_the_front() -> None:
    """Whichever was started first (data plane 4.5, 3; C14)."""
    for running in ("CB", "BC"):
        thing = world_with(*running, queued="ABC").thing("T")
        assert pending.front_identity(thing) == ("B", 1)
        assert ids(pending.in_progress(thing)) == "BC"


def test_the_lists_show_running_executions_first_and_ten_in_all() -> None:
    """Together, in queue order (data plane 9, A4)."""
    thing = world_with("L", "K", queued="ABCDEFGHIJKL").thing("T")
    running, queued = pending.shown(thing, PENDING_JOBS_SHOWN_MAX)
    assert (ids(running), ids(queued)) == ("KL", "ABCDEFGH")
    running, queued = pending.shown(thing, 1)
    assert (ids(running), ids(queued)) == ("K", "")


def test_the_wire_shows_ten_pending_executions() -> None:
    """In the reply to `get` and in `notify` alike (data plane 5.1, 9)."""
    world = world_with("L", queued="ABCDEFGHIJKL")
    body = world.device("T", "get")[0].body
    assert [one["jobId"] for one in body["inProgressJobs"] + body["queuedJobs"]] == list("LABCDEFGHI")
    jobs = world.create_job("M")[1].body["jobs"]
    assert {status: [one["jobId"] for one in found] for status, found in jobs.items()} == {
        "IN_PROGRESS": ["L"],
        "QUEUED": list("ABCDEFGHI"),
    }


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.lists(st.tuples(st.sampled_from("ABCDEF"), st.sampled_from(["start", "end", "new"]))))
def test_the_order_is_that_of_a_sorted_list(actions: list[tuple[str, str]]) -> None:
    """IN_PROGRESS before QUEUED, each by queue position, whatever happens (data plane 4.5)."""
    world, made = World("T"), 0
    for letter, action in actions:
        thing = world.thing("T")
        found = [one for one in thing.pending.values() if one.job_id.startswith(letter)]
        if action == "new" or not found:
            made += 1
            world.create_job(f"{letter}{made}")
        else:
            world.update("T", found[0].job_id, "IN_PROGRESS" if action == "start" else "SUCCEEDED")
        expected = sorted(
            thing.pending.values(),
            key=lambda one: (one.status is not Status.IN_PROGRESS, one.queue_position),
        )
        running, queued = pending.shown(thing, 4)
        assert running + queued == expected[:4]
        assert pending.front(thing) == (expected[0] if expected else None)
