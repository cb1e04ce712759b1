"""The device protocol over real MQTT on both brokers (data plane, section 11): the transcripts, byte by byte.

Every message of every case is checked to be QoS 1, not retained and no duplicate (1.5), see `WireClient`.
C62 and C63 need groups; C81 and C82 are about rights, which the services of these tests do not limit.
"""

from pathlib import Path

import pytest

from tests.end_to_end import wire_transcript
from tests.end_to_end.wire_fixtures import WireService
from tests.scenarios import transcript

pytestmark = pytest.mark.broker

CASES = [
    pytest.param(case, id=f"{path.stem}-{case.case_id}")
    for path in sorted(Path(transcript.__file__).parent.glob("*.txt"))
    for case in transcript.read_cases(path)
]


@pytest.mark.asyncio
@pytest.mark.parametrize("case", CASES)
async def test_the_wire_answers_as_the_transcript_says(service: WireService, case: transcript.Case) -> None:
    """C01 to C85 in full and in order, the example of twenty minutes (C64, 6.5) among them."""
    wanted, performed = await wire_transcript.perform(case, service)
    assert performed == wanted
