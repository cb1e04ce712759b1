"""A preview as a whole, from its pages: the service looks at so many things for each, and the last one tells
of the rollout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from thingjobs_broker.cli.connection import Connection

Preview = dict[str, Any]


async def previewed(connection: Connection, request: Mapping[str, Any], names_max: int) -> Preview:
    """Return what PreviewJob tells, at most `names_max` names of each kind.

    Raises:
        RefusedError: CreateJob would refuse it.

    """
    token: str | None = None
    pages: list[Preview] = []
    while not pages or token is not None:
        more = {"nextToken": token} if token is not None else {}
        page = await connection.request("PreviewJob", {**request, "maxResults": names_max, **more})
        token = page.pop("nextToken", None)
        pages.append(page)
    return merged(pages, names_max)


def merged(pages: list[Preview], names_max: int) -> Preview:
    """Return one preview of several pages: sums of their counts, the first of their names."""
    targets: dict[str, int] = {}
    for page in pages:
        for each in page["targets"]:
            targets[each["target"]] = targets.get(each["target"], 0) + each["things"]
    return pages[-1] | {
        "targets": [{"target": target, "things": count} for target, count in targets.items()],
        "targeted": _sum((page["targeted"] for page in pages), names_max),
        "excluded": _by_reason(pages, "excluded", names_max),
        "waiting": _by_reason(pages, "waiting", names_max),
    }


def _by_reason(pages: list[Preview], kind: str, names_max: int) -> list[dict[str, Any]]:
    every = [each for page in pages for each in page[kind]]
    reasons = dict.fromkeys(each["reason"] for each in every)
    return [
        {"reason": reason} | _sum((each for each in every if each["reason"] == reason), names_max)
        for reason in reasons
    ]


def _sum(parts: Iterable[Mapping[str, Any]], names_max: int) -> dict[str, Any]:
    found = list(parts)
    names = [name for part in found for name in part["names"]]
    return {"count": sum(part["count"] for part in found), "names": names[:names_max]}
