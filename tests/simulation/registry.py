"""What an operator does to things and groups: groups come and go, things join, leave, change and vanish."""

from collections.abc import Callable
from typing import Any

from tests.simulation.schedule import Schedule

PARENTS: dict[str, str] = {"g1": "", "g1a": "g1", "g1b": "g1", "g2": ""}
"""The static groups, each with the one above it."""

QUERIES = {"red": "attributes.color:red", "ones": "thingGroupNames:g1a OR attributes.color:blue"}
COLORS = ("red", "blue", "green")
GROUPS = (*PARENTS, *QUERIES)


class Registry:
    """Asks by `ask`; the answer is of no concern, because the world tells what came of it."""

    def __init__(self, schedule: Schedule, ask: Callable[..., None], things: list[str]) -> None:
        self._ask = ask
        self._schedule = schedule
        self._things = things

    def begin(self) -> None:
        """Make everything, so that a world begins with something in it."""
        random = self._schedule.random
        config = {"thingIndexingMode": "REGISTRY"}
        self._ask("UpdateIndexingConfiguration", thingIndexingConfiguration=config)
        for thing in self._things:
            self._create_thing(thing)
        for group in GROUPS:
            self._create_group(group)
        for thing in self._things:
            if random.random() < 0.6:
                self._ask("AddThingToThingGroup", thingName=thing, thingGroupName=random.choice([*PARENTS]))

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

    def _create_thing(self, thing: str) -> None:
        members: dict[str, Any] = {}
        if self._schedule.chance(0.5):
            color = self._schedule.random.choice(COLORS)
            members["attributePayload"] = {"attributes": {"color": color}}
        self._ask("CreateThing", thingName=thing, **members)

    def _create_group(self, group: str) -> None:
        if group in QUERIES:
            self._ask("CreateDynamicThingGroup", thingGroupName=group, queryString=QUERIES[group])
        else:
            parent = {"parentGroupName": PARENTS[group]} if PARENTS[group] else {}
            self._ask("CreateThingGroup", thingGroupName=group, **parent)

    def _join(self) -> None:
        self._ask("AddThingToThingGroup", thingName=self._thing(), thingGroupName=self._static())

    def _leave(self) -> None:
        self._ask("RemoveThingFromThingGroup", thingName=self._thing(), thingGroupName=self._static())

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
        self._create_thing(self._thing())
        self._create_group(self._schedule.random.choice(GROUPS))
