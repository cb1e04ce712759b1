"""Masks what differs from run to run in the output of the demo: runs and the README can be compared."""

import re

MASKS = (
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"/\S*/thingjobs-demo-[^/\"\s]+", "/DEMO"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", "TIME"),
    (r"\((?:\d+ s ago|now)\)", "(AGE)"),
    (r"after \d+\.\d s", "after N s"),
    (r"thingjobs-cli-[0-9a-f]+", "thingjobs-cli-ID"),
    # Reports of progress that follow each other closely are merged.
    (r"version \d+$", "version N"),
    (r"^(host|system|kernel|machine|processors|memory_kib|disk_free_kib|uptime_seconds) +\S.*$", r"\1 FACT"),
)
_WATCHED = re.compile(r"^\d\d:\d\d:\d\d  (.*)$")
_STEP = re.compile(r"^(IN_PROGRESS  1 in progress; demo-gateway: step \d/3 [\w-]+)(?:, .*)?$")


def masked(output: str) -> list[str]:
    """The lines of a demo, comparable with those of any other."""
    lines: list[str] = []
    for line in output.strip().splitlines():
        masked_line = _masked_watch(line)
        if masked_line is not None and masked_line not in lines[-1:]:
            lines.append(masked_line)
    return lines


def _masked_watch(line: str) -> str | None:
    """A line of `job watch` says which step runs; whether it was seen before it began is chance."""
    watched = _WATCHED.match(line)
    if watched is None:
        for pattern, mask in MASKS:
            line = re.sub(pattern, mask, line.rstrip())
        return line
    step = _STEP.match(watched[1])
    if step is not None:
        return step[1]
    return None if watched[1].endswith(("1 queued", "demo-gateway: started")) else watched[1]
