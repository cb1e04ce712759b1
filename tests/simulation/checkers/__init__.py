"""The promises of the architecture, each with who checks it."""

from tests.simulation.checkers.agents import EverythingEnds, NoJobTwice
from tests.simulation.checkers.base import Checker
from tests.simulation.checkers.durability import NothingToldIsLost, RecoveredEqualsLived, SyncedBeforeSaid
from tests.simulation.checkers.letting_go import AnsweredBeforeForgotten
from tests.simulation.checkers.membership import JobsFollowMembership, RemovalsHaveReasons
from tests.simulation.checkers.notices import EverythingIsSaid, NotifyIff
from tests.simulation.checkers.protocol import (
    CountsAreRecounts,
    DevicesAreApart,
    OneReplyEach,
    TerminalStaysTerminal,
    UpdatesAreAsAsked,
    VersionByOne,
)
from tests.simulation.checkers.rollouts import EachThingOnce, RetriesAreCounted
from tests.simulation.checkers.schedules import ForceIsNeeded, SchedulesAreKept
from tests.simulation.checkers.time import TimersAreExact

__all__ = ["ALL", "Checker"]

ALL: tuple[type[Checker], ...] = (
    SyncedBeforeSaid,
    NothingToldIsLost,
    RecoveredEqualsLived,
    OneReplyEach,
    AnsweredBeforeForgotten,
    VersionByOne,
    TerminalStaysTerminal,
    UpdatesAreAsAsked,
    DevicesAreApart,
    CountsAreRecounts,
    NotifyIff,
    EverythingIsSaid,
    TimersAreExact,
    EachThingOnce,
    RetriesAreCounted,
    JobsFollowMembership,
    RemovalsHaveReasons,
    SchedulesAreKept,
    ForceIsNeeded,
    NoJobTwice,
    EverythingEnds,
)
