"""How templates are shown: one's own with their settings, managed ones with their parameters."""

import pytest

from tests.broker.cli.fakes import FakeConnection, FakeSession
from thingjobs_broker.cli.errors import RefusedError
from thingjobs_broker.cli.output import Output
from thingjobs_broker.cli.templates import _show, show


def test_a_managed_template_shows_what_a_job_must_give(capsys: pytest.CaptureFixture[str]) -> None:
    """Each parameter as the option that gives it, required or optional."""
    _show(
        Output(as_json=False),
        {
            "templateName": "AWS-X",
            "description": "does x",
            "environments": ["LINUX"],
            "documentParameters": [
                {"key": "a", "description": "first", "optional": False, "example": "1"},
                {"key": "b", "description": "second", "optional": True},
            ],
            "document": "{}",
        },
        0.0,
    )
    shown = capsys.readouterr().out
    assert "  --param a=...  required: first, such as 1\n" in shown
    assert "  --param b=...  optional: second\n" in shown
    assert shown.endswith("  document:\n{}\n")


def test_an_own_template_shows_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """As the options take them."""
    retries = {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]}
    template = {
        "jobTemplateId": "t",
        "description": "d",
        "document": "{}",
        "jobExecutionsRetryConfig": retries,
    }
    _show(Output(as_json=False), template, 0.0)
    assert "  retries      FAILED=1\n" in capsys.readouterr().out


@pytest.mark.asyncio
@pytest.mark.parametrize("code", ["ResourceNotFoundException", "InvalidRequestException"])
async def test_a_template_that_is_neither_own_nor_managed_is_called_so(code: str) -> None:
    """Not after the kind that was looked for last."""

    def answer(operation: str, _: object) -> dict[str, object]:
        raise RefusedError(code, operation)

    session = FakeSession(lambda: FakeConnection(answer))
    with pytest.raises(RefusedError, match="no template, own or managed, has the name 'upd\u00e4te'"):
        await show(session, "upd\u00e4te")
