"""Measures pages of lists: the first and the last of 50 entries, in processor time."""

from tests.broker.core import test_list_pages as lists
from thingjobs_broker.core.paging import token_of
from thingjobs_broker.core.records import ExecutionQueued

COUNT = 100_000


def main() -> None:
    """Print a row of the table in docs/performance.md for each list."""
    lists.COUNT = COUNT
    groups, types, jobs = lists.many_groups(), lists.many_types(), lists.with_jobs(COUNT)
    jobs.checked = False
    for number in range(COUNT):
        jobs.state.apply(ExecutionQueued("T", f"J{number:05}", 1, number + 1, jobs.now_ms, 0))
    print("| list | first page, ms | last page, ms |\n| --- | --- | --- |")
    for world, operation, members, filters, place in (
        (groups, "ListThingGroups", {}, (None, "", "True"), COUNT - 50),
        (groups, "ListThingGroups", {"parentGroup": "root"}, ("root", "", "True"), COUNT - 50),
        (types, "ListThingTypes", {}, ("",), COUNT - 50),
        (jobs, "ListJobExecutionsForThing", {"thingName": "T"}, ("T", None, None, None), COUNT - 50),
    ):
        first = lists.cost(world, operation, None, **members)
        last = lists.cost(world, operation, token_of(str(place), filters), **members)
        shown = ", ".join((operation, *members))
        print(f"| {shown} | {first * 1000:.2f} | {last * 1000:.2f} |")


if __name__ == "__main__":
    main()
