"""One table of operations drives decoding, dispatch and documentation (control plane 1.4)."""

import botocore.session

from tests import operations
from tests.support import ROOT
from thingjobs_broker.core.control import OPERATIONS

OWN = {name for name in OPERATIONS if operations.is_own(name)}


def test_the_documentation_is_the_table() -> None:
    """`python -m tests.operations` writes it anew."""
    assert operations.PAGE.read_text() == operations.page()


def test_an_operation_is_of_aws_or_says_that_it_is_ours() -> None:
    """By botocore's model of the service."""
    known = set(botocore.session.get_session().get_service_model("iot").operation_names)
    assert OPERATIONS.keys() - known == OWN


def test_each_operation_of_our_own_has_its_reason() -> None:
    """In the decisions, in a row of its own."""
    _, _, section = (ROOT / "docs" / "decisions.md").read_text().partition("## Operations of our own\n")
    rows = section.partition("\n## ")[0].splitlines()
    named = {
        name for row in rows if row.startswith("| ") for name in row.split("|")[1].split() if name in OWN
    }
    assert named == OWN
