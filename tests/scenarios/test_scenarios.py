"""The conformance cases of the data plane (section 11) as transcripts, one test for each case.

C81 and C82 are the broker's to refuse.
"""

from pathlib import Path

import pytest

from tests.scenarios.transcript import Case, perform, read_cases

FILES = sorted(Path(__file__).parent.glob("*.txt"))
CASES = [(path, case) for path in FILES for case in read_cases(path)]
EXPECTED_IDS = [f"C{number:02}" for number in range(1, 86) if number not in (81, 82)]


@pytest.mark.parametrize(("path", "case"), CASES, ids=[f"{path.stem}-{case.case_id}" for path, case in CASES])
def test_the_core_answers_as_the_transcript_says(
    path: Path, case: Case, request: pytest.FixtureRequest
) -> None:
    """Every message, in order and in full (data plane 11)."""
    performed = perform(case)
    if request.config.getoption("--rewrite-transcripts", default=False):
        text = path.read_text(encoding="utf-8")
        assert text.count(case.text) == 1
        path.write_text(text.replace(case.text, performed), encoding="utf-8")
        return
    assert performed == case.text


def test_every_case_of_the_spec_is_there_once() -> None:
    """A case that is lost or repeated would be no conformance (data plane 11)."""
    assert sorted(case.case_id for _, case in CASES if case.case_id.startswith("C")) == EXPECTED_IDS


def test_every_chapter_tells_what_it_is_about() -> None:
    """A file opens with comments, and every case prints something that could be wrong."""
    assert all(path.read_text(encoding="utf-8").startswith("# ") for path in FILES)
    silent = [
        case.case_id
        for _, case in CASES
        if not any(block.expected for block in case.blocks if block.is_command)
    ]
    assert silent == []
