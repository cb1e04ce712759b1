"""How a preview is shown: for whom, for whom not and why, who will wait, how long the rollout takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.cli.output import clock_time, moment, printable, span, thing_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thingjobs_broker.cli.output import Output


def show_preview(output: Output, preview: Mapping[str, Any], now: float) -> None:
    """Write a preview as text; `now` is the service's time."""
    targeted = preview["targeted"]
    output.line(f"{_things(targeted['count'])} would get the job{_named(targeted)}")
    several = len(preview["targets"]) > 1
    for each in preview["targets"] if several else ():
        output.line(f"  {thing_name(each['target'])}: {_things(each['things'])}")
    for each in preview["excluded"]:
        output.line(f"excluded, {printable(each['reason'])}: {each['count']}{_named(each)}")
    for each in preview["waiting"]:
        output.line(f"will wait, {printable(each['reason'])}: {each['count']}{_named(each)}")
    output.line(f"rollout: {_rollout(preview, targeted['count'], now)}")
    output.line("nothing was created; thingjobs job create with the same options does it")


def _rollout(preview: Mapping[str, Any], count: int, now: float) -> str:
    rollout = preview["rollout"]
    starts, ends = rollout.get("startsAt"), rollout.get("endsAt")
    if starts is None:
        return "never begins: endTime comes first"
    per_minute = rollout.get("perMinute")
    pace = "all at once" if per_minute is None or per_minute >= count else f"first {per_minute} a minute"
    if ends is None:
        is_stopped = "endTime" in preview["configuration"].get("schedulingConfig", {})
        end = (
            "stopped by endTime before it is done"
            if is_stopped
            else "takes more windows than can be foreseen"
        )
        return f"{pace}, begins {moment(starts, now)}, {end}"
    took = "at once" if ends <= starts else f"takes {span(ends - starts)}, done {clock_time(ends)}"
    return f"{pace}, begins {moment(starts, now)}, {took}"


def _named(found: Mapping[str, Any]) -> str:
    more = found["count"] - len(found["names"])
    names = ", ".join(map(printable, found["names"])) + (f" and {more} more" if more > 0 else "")
    return f": {names}" if names else ""


def _things(count: int) -> str:
    return f"{count} thing{'' if count == 1 else 's'}"
