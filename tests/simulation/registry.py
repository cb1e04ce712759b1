"""What an operator does to things and groups: groups come and go, things join, leave, change and vanish."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.simulation.schedule import Schedule

PARENTS: dict[str, str] = {"g1": "", "g1a": "g1", "g1b": "g1", "g2": ""}
"""The static groups, each with the one above it."""

QUERIES = {"red": "attributes.color:red", "ones": "thingGroupNames:g1a OR attributes.color:blue"}
COLORS = ("red", "blue", "green")
GROUPS = (*PARENTS, *QUERIES)


class Asking(NamedTuple):
    """A request to be sent."""

    operation: str
    members: dict[str, Any]


class Registry:
    """Asks by `ask` when it acts."""

    def __init__(self, schedule: Schedule, ask: Callable[..., None], things: list[str]) -> None:
        self._ask = ask
        self._schedule = schedule
        self._things = things
        self._placed: list[tuple[str, str]] = []
        """Who was asked to join what, lately: of whom it is likely that something comes of leaving."""

    def beginning(self) -> list[Asking]:
        """Return what makes everything, so that a world begins with something in it."""
        random = self._schedule.random
        config = {"thingIndexingMode": "REGISTRY"}
        wanted = [
            Asking("UpdateIndexingConfiguration", {"thingIndexingConfiguration": config}),
            *(self._thing_made(thing) for thing in self._things),
            *(_group_made(group) for group in GROUPS),
        ]
        for thing in self._things:
            if random.random() < 0.6:
                group = random.choice([*PARENTS])
                members = {"thingName": thing, "thingGroupName": group}
                self._placed.append((thing, group))
                wanted.append(Asking("AddThingToThingGroup", members))
        return wanted

    def act(self) -> None:
        """Do a few things."""
        acts = [self._join] * 5 + [self._leave] * 4 + [self._move, self._recolor, self._recolor]
        acts += [self._delete_thing, self._delete_group, self._make_again, self._make_again]
        for _ in range(self._schedule.random.randint(1, 6)):
            self._schedule.random.choice(acts)()

    def _thing(self) -> str:
        return self._schedule.random.choice(self._things)

    def _static(self) -> str:
        return self._schedule.random.choice([*PARENTS])

    def _thing_made(self, thing: str) -> Asking:
        members: dict[str, Any] = {"thingName": thing}
        if self._schedule.chance(0.5):
            color = self._schedule.random.choice(COLORS)
            members["attributePayload"] = {"attributes": {"color": color}}
        return Asking("CreateThing", members)

    def _join(self) -> None:
        thing, group = self._thing(), self._static()
        self._placed.append((thing, group))
        self._ask("AddThingToThingGroup", thingName=thing, thingGroupName=group)

    def _leave(self) -> None:
        """Some come back at once."""
        random = self._schedule.random
        place = random.randrange(len(self._placed)) if self._placed else 0
        thing, group = self._placed.pop(place) if self._placed else (self._thing(), self._static())
        self._ask("RemoveThingFromThingGroup", thingName=thing, thingGroupName=group)
        if random.random() < 0.3:
            self._placed.append((thing, group))
            self._ask("AddThingToThingGroup", thingName=thing, thingGroupName=group)

    def _move(self) -> None:
        old, new = self._schedule.random.sample([*PARENTS], 2)
        members = {"thingGroupsToAdd": [new], "thingGroupsToRemove": [old]}
        self._ask("UpdateThingGroupsForThing", thingName=self._thing(), **members)

    def _recolor(self) -> None:
        color = self._schedule.random.choice(COLORS)
        payload = {"attributes": {"color": color}}
        self._ask("UpdateThing", thingName=self._thing(), attributePayload=payload)

    def _delete_thing(self) -> None:
        self._ask("DeleteThing", thingName=self._thing())

    def _delete_group(self) -> None:
        group = self._schedule.random.choice(GROUPS)
        kind = "DeleteDynamicThingGroup" if group in QUERIES else "DeleteThingGroup"
        self._ask(kind, thingGroupName=group)

    def _make_again(self) -> None:
        """Most of it is there, and stays as it is."""
        for operation, members in (
            self._thing_made(self._thing()),
            _group_made(self._schedule.random.choice(GROUPS)),
        ):
            self._ask(operation, **members)


def _group_made(group: str) -> Asking:
    if group in QUERIES:
        members = {"thingGroupName": group, "queryString": QUERIES[group]}
        return Asking("CreateDynamicThingGroup", members)
    parent = {"parentGroupName": PARENTS[group]} if PARENTS[group] else {}
    return Asking("CreateThingGroup", {"thingGroupName": group, **parent})
