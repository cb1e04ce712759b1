"""The artifact directory: what can be fetched, and who a signed URL works for, and for how long."""

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from thingjobs_broker.artifacts import ArtifactDirectory, signing_key
from thingjobs_broker.core.placeholders import Location, UrlRequest
from thingjobs_protocol.limits import JOB_DOCUMENT_BYTES_MAX

BASE = "https://jobs.example:8443/artifacts"


class Clock:
    now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def artifacts(tmp_path: Path, clock: Clock) -> ArtifactDirectory:
    (tmp_path / "art" / "bucket" / "sub").mkdir(parents=True)
    (tmp_path / "art" / "bucket" / "sub" / "a b.json").write_bytes(b"{}")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "art" / "bucket" / "link").symlink_to(tmp_path / "secret")
    return ArtifactDirectory(tmp_path / "art", BASE, b"k" * 32, clock)


@pytest.mark.parametrize("url", ["s3://bucket/sub/a b.json", f"{BASE}/bucket/sub/a%20b.json"])
def test_a_document_is_fetched_by_either_url(artifacts: ArtifactDirectory, url: str) -> None:
    """Control plane 7.1, documentSource."""
    assert artifacts.fetch(url) == b"{}"


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/nothing",
        "s3://bucket/../../secret",
        "s3://bucket/%2e%2e/%2e%2e/secret",
        "s3://bucket/link",
        "s3:///etc/passwd",
        "s3://bucket",
        "s3://",
        "s3://bucket/\0",
        "https://elsewhere.example/bucket/sub/a b.json",
        "file:///etc/passwd",
    ],
)
def test_nothing_else_is_fetched(artifacts: ArtifactDirectory, tmp_path: Path, url: str) -> None:
    """Neither outside the directory nor anywhere else; the error does not name the machine's paths."""
    with pytest.raises(OSError, match=r".") as refused:
        artifacts.fetch(url)
    assert str(tmp_path) not in str(refused.value)


def test_no_more_is_read_than_tells_that_it_is_too_much(artifacts: ArtifactDirectory, tmp_path: Path) -> None:
    """A document has at most 32768 bytes (control plane 10)."""
    (tmp_path / "art" / "large").write_bytes(b"x" * 100_000)
    assert len(artifacts.fetch("s3://large")) == JOB_DOCUMENT_BYTES_MAX + 1


def parts(url: str) -> tuple[str, str, str]:
    """Path below the base, expiry and signature of a signed URL."""
    assert url.startswith(BASE + "/")
    query = parse_qs(urlsplit(url).query)
    return unquote(url.removeprefix(BASE + "/").partition("?")[0]), query["expires"][0], query["signature"][0]


def test_a_signed_url_works_for_its_time_its_method_and_its_file(
    artifacts: ArtifactDirectory, clock: Clock, tmp_path: Path
) -> None:
    """Control plane 7.2, "Lifetime"."""
    location = Location("s3.amazonaws.com", "bucket", "sub/a b.json")
    path, expires, signature = parts(artifacts.sign(UrlRequest("GET", location, 60)))
    found = artifacts.verified("GET", path, expires, signature)
    assert found == tmp_path / "art" / "bucket" / "sub" / "a b.json"
    for forged in (
        ("PUT", path, expires, signature),
        ("GET", "bucket/other", expires, signature),
        ("GET", path, str(int(expires) + 1), signature),
        ("GET", path, "²", signature),
        ("GET", path, expires, signature[:-1] + "x"),
    ):
        assert artifacts.verified(*forged) is None
    clock.now_ms += 59_999
    assert artifacts.verified("GET", path, expires, signature)
    clock.now_ms += 1
    assert artifacts.verified("GET", path, expires, signature) is None
    again = artifacts.sign(UrlRequest("GET", location, 60))
    assert parts(again)[1:] != (expires, signature)


def test_an_upload_without_a_bucket_has_a_place_of_its_own(artifacts: ArtifactDirectory) -> None:
    """And no key leads out of the directory, however well signed."""
    path, *_ = parts(artifacts.sign(UrlRequest("PUT", Location(key="T/J/1"), 60)))
    assert path == "uploads/T/J/1"
    out = parts(artifacts.sign(UrlRequest("PUT", Location("h", "b", "../../x"), 60)))
    assert artifacts.verified("PUT", *out) is None


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    """State files have mode 0600."""
    path = tmp_path / "artifact.key"
    key = signing_key(path)
    assert len(key) == 32
    assert signing_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    for half in (b"", key[:-1]):
        path.write_bytes(half)
        assert len(signing_key(path)) == 32
        assert signing_key(path) == path.read_bytes()
    assert [one.name for one in path.parent.iterdir()] == [path.name]
