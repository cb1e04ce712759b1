"""What `thingjobs init operator` makes for HTTP: an access key in two files, and nothing on the screen."""

from pathlib import Path

import pytest
from botocore.credentials import SharedCredentialProvider

from thingjobs_broker.http.access_keys import Role, read
from thingjobs_broker.provision.errors import ProvisionError
from thingjobs_broker.provision.layout import Layout
from thingjobs_broker.provision.names import FIRST_OPERATOR
from thingjobs_broker.provision.setup import Setup


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A directory that was set up."""
    setup = Setup(tmp_path / "setup")
    setup.create(["broker.example"], "amqtt")
    return setup.layout


def credentials(layout: Layout, name: str) -> tuple[str, str]:
    """What AWS's SDKs read."""
    found = SharedCredentialProvider(str(layout.operator(name).credentials), "default").load()
    return found.access_key, found.secret_key


def test_the_first_operator_has_an_access_key(layout: Layout) -> None:
    """Both files say the same; they are nobody else's to read."""
    (only,) = read(layout.access_keys).items()
    key_id, key = only
    assert (key.role, key.name) == (Role.OPERATOR, FIRST_OPERATOR)
    assert credentials(layout, FIRST_OPERATOR) == (key_id, key.secret)
    assert (len(key_id), len(key.secret)) == (20, 40)
    for file in (layout.access_keys, layout.operator(FIRST_OPERATOR).credentials):
        assert file.stat().st_mode & 0o777 == 0o600


def test_the_same_again_keeps_the_key_and_renew_replaces_it(layout: Layout) -> None:
    """Other operators keep theirs."""
    first = credentials(layout, FIRST_OPERATOR)
    Setup(layout.root).add_operator("ada")
    Setup(layout.root).add_operator(FIRST_OPERATOR)
    assert credentials(layout, FIRST_OPERATOR) == first
    Setup(layout.root).add_operator(FIRST_OPERATOR, renew=True)
    assert credentials(layout, FIRST_OPERATOR) != first
    assert {key.name: key_id for key_id, key in read(layout.access_keys).items()} == {
        "ada": credentials(layout, "ada")[0],
        FIRST_OPERATOR: credentials(layout, FIRST_OPERATOR)[0],
    }


def test_who_may_only_read_gets_no_password(layout: Layout) -> None:
    """MQTT knows no such role."""
    Setup(layout.root).add_operator("eve", read_only=True)
    assert read(layout.access_keys)[credentials(layout, "eve")[0]].role is Role.READ_ONLY
    assert "eve" not in layout.passwords.read_text()
    assert "eve" not in layout.up_settings.read_text()
    assert not layout.operator("eve").password.exists()


def test_a_role_is_not_changed_by_the_way(layout: Layout) -> None:
    """Neither up nor down."""
    Setup(layout.root).add_operator("eve", read_only=True)
    with pytest.raises(ProvisionError, match="eve has an access key that is read-only"):
        Setup(layout.root).add_operator("eve")
    with pytest.raises(ProvisionError, match="has an access key that is operator"):
        Setup(layout.root).add_operator(FIRST_OPERATOR, read_only=True)
    assert "eve" not in layout.passwords.read_text()
