"""Placeholders of job documents (control plane 7.2): found, checked, replaced at creation and delivery."""

import json

import hypothesis
import hypothesis.strategies as st
import msgspec
import pytest

from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_broker.core.placeholders import (
    Kind,
    Location,
    PresignedUrlConfig,
    Recipient,
    UrlRequest,
    at_creation,
    at_delivery,
    find,
)

PATH_STYLE = "https://s3.eu-west-1.amazonaws.com/fw/a/b.bin"
HOST_STYLE = "https://fw.s3.eu-west-1.amazonaws.com/a/b.bin"
ROLE = "arn:aws:iam::123456789012:role/reader"
RECIPIENT = Recipient("T:1", "J-1", 3)


class Signer:
    """Signs with a counter, so that two signatures differ."""

    def __init__(self) -> None:
        self.requests: list[UrlRequest] = []

    def sign(self, request: UrlRequest) -> str:
        self.requests.append(request)
        return f'https://signed/{request.location.key}?n={len(self.requests)}&q="'


def placeholder(kind: str, argument: str) -> str:
    return "${aws:iot:" + kind + ":" + argument + "}"


def document(*texts: str) -> str:
    return json.dumps({"texts": texts, "x": 1}, ensure_ascii=False)


def texts(delivered: str) -> list[str]:
    body = json.loads(delivered)
    assert body["x"] == 1
    found: list[str] = body["texts"]
    return found


def location(kind: str, url: str) -> Location | None:
    (found,) = find(document("<" + placeholder(kind, url) + ">"))
    return found.location


@pytest.mark.parametrize("kind", ["s3-presigned-url", "s3-presigned-url-v1", "s3-presigned-url-v2"])
@pytest.mark.parametrize(
    ("url", "host"),
    [(PATH_STYLE, "s3.eu-west-1.amazonaws.com"), (HOST_STYLE, "fw.s3.eu-west-1.amazonaws.com")],
)
def test_a_presigned_url_names_an_object(kind: str, url: str, host: str) -> None:
    """Control plane 7.2: path style and virtual-hosted style name the same object."""
    assert location(kind, url) == Location(host, "fw", "a/b.bin")


@pytest.mark.parametrize(
    ("kind", "url", "expected"),
    [
        ("s3-presigned-url", "https://host/b/a%20b", Location("host", "b", "a%20b")),
        ("s3-presigned-url-v1", "https://host/b/a b", Location("host", "b", "a b")),
        ("s3-presigned-url-v2", "https://host/b/a%20b", Location("host", "b", "a b")),
        ("s3-presigned-url-v2", "https://host/b/k%3FversionId%3Dv1", Location("host", "b", "k", "v1")),
        ("s3-presigned-url-v2", "https://host/b/k?versionId=v1", Location("host", "b", "k", "v1")),
        ("s3-presigned-url", 'https://host/b/"k"', Location("host", "b", '"k"')),
        ("s3-presigned-url", "s3://b/k/l", Location("b", "b", "k/l")),
        ("s3-presigned-url-upload", "http://localhost:9000/b/k", Location("localhost:9000", "b", "k")),
    ],
)
def test_only_version_2_is_percent_encoded_and_versioned(kind: str, url: str, expected: Location) -> None:
    """Control plane 7.2, the notes of the rows."""
    assert location(kind, url) == expected


def test_delivery_signs_each_url_for_this_device() -> None:
    """Control plane 7.2: GET to download, PUT to upload, with the job's lifetime and role."""
    signer = Signer()
    upload = "https://host/logs/${thingName}/${jobId}-${executionNumber}/${thingName}.gz"
    given = document(
        placeholder("s3-presigned-url", PATH_STYLE), "and " + placeholder("s3-presigned-url-upload", upload)
    )
    config = PresignedUrlConfig(role_arn=ROLE, expires_in_sec=60)
    first, second = texts(at_delivery(given, config, RECIPIENT, signer))
    assert (first, second) == (
        'https://signed/a/b.bin?n=1&q="',
        'and https://signed/T:1/J-1-3/T:1.gz?n=2&q="',
    )
    assert signer.requests == [
        UrlRequest("GET", Location("s3.eu-west-1.amazonaws.com", "fw", "a/b.bin"), 60, ROLE),
        UrlRequest("PUT", Location("host", "logs", "T:1/J-1-3/T:1.gz"), 60, ROLE),
    ]


def test_two_deliveries_are_signed_anew() -> None:
    """Control plane 7.2, "Lifetime": 3600 seconds by default, from each delivery."""
    signer = Signer()
    given = document(placeholder("s3-presigned-url", PATH_STYLE))
    assert at_delivery(given, None, RECIPIENT, signer) != at_delivery(given, None, RECIPIENT, signer)
    assert [(request.expires_in_seconds, request.role_arn) for request in signer.requests] == [(3600, "")] * 2


@pytest.mark.parametrize(
    "text", ["${aws:iot:s3-presigned-url-upload}", "${aws:iot:s3-presigned-url-upload:}"]
)
def test_an_upload_without_a_url_gets_a_key_for_this_device(text: str) -> None:
    """Control plane 7.2: the service makes a key for each device; two in one document differ."""
    signer = Signer()
    at_delivery(document(text, text), None, RECIPIENT, signer)
    assert [request.location for request in signer.requests] == [
        Location(key="T:1/J-1/3"),
        Location(key="T:1/J-1/3-2"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "${HOME}/bin ${x:-y} ${thingName} $(id) ${",
        "${aws:other:thing}",
        "$ {aws:iot:parameter:x}",
        placeholder("code-sign-signature", "s3://region.bucket/key@version"),
        placeholder("package", "fw:version:1.0:attributes:url"),
    ],
)
def test_what_is_not_ours_passes_untouched(text: str) -> None:
    """Control plane 7.2, "Foreign ${...}"; signatures and packages are left for others."""
    given = document(text)
    assert at_creation(given, parameters=None, has_role=False) == given
    assert at_delivery(given, None, RECIPIENT, Signer()) == given


def test_everything_around_a_placeholder_stays_byte_for_byte() -> None:
    """Control plane 7.1, 7.2: spacing, escapes and order of the author's text are kept."""
    given = '{ "b" : "\\u00e9 ' + placeholder("s3-presigned-url", "https:\\/\\/h\\/b\\/k") + '",\n "a":1.0}'
    assert at_delivery(given, None, RECIPIENT, Signer()) == (
        '{ "b" : "\\u00e9 https://signed/k?n=1&q=\\"",\n "a":1.0}'
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("${aws:iot:s3-presigned-url:https://h/b/k", "no closing brace"),
        ("${aws:iot:s3-presigned-url-upload:https://h/b/${thingName}", "no closing brace"),
        ("${aws:iot:", "no closing brace"),
        ("${aws:iot:}", "must be one of"),
        ("${aws:iot:s3-presigned-url-v3:https://h/b/k}", "must be one of"),
        ("${aws:iot:S3-presigned-url:https://h/b/k}", "must be one of"),
        ("${aws:iot:parameter}", "after the colon"),
        ("${aws:iot:s3-presigned-url:}", "after the colon"),
        ("${aws:iot:s3-presigned-url:h/b/k}", "must hold a URL"),
        ("${aws:iot:s3-presigned-url:ftp://h/b/k}", "must hold a URL"),
        ("${aws:iot:s3-presigned-url:https://h/b}", "a bucket and a key"),
        ("${aws:iot:s3-presigned-url:https://h/b/}", "a bucket and a key"),
        ("${aws:iot:s3-presigned-url:https://h/b/k?versionId=1}", "versionId"),
        ("${aws:iot:s3-presigned-url-v2:https://h/b/${thingName}}", "another placeholder"),
        ("${aws:iot:s3-presigned-url:${aws:iot:parameter:x}}", "another ${aws:iot:"),
        ("${aws:iot:s3-presigned-url-upload:https://h/${thingName}/k}", "in the key only"),
        ("${aws:iot:s3-presigned-url-upload:https://${thingName}.s3.x/k}", "in the key only"),
        ("${aws:iot:s3-presigned-url-upload:https://h/b/${thing}}", "unknown ${thing}"),
        ("${aws:iot:s3-presigned-url-upload:https://h/b/" + "${jobId}" * 3 + "}", "2 times"),
        ("${aws:iot:s3-presigned-url-upload:https://h/b/${${jobId}}}", "within another"),
    ],
)
def test_a_malformed_placeholder_is_an_invalid_request(text: str, fault: str) -> None:
    """Control plane 7.2, "Malformed"; refused at creation, before any device sees it."""
    with pytest.raises(InvalidRequestError) as refused:
        at_creation(document(text), parameters=None, has_role=True)
    placeholder_shown, rule = refused.value.message.split("' ", 1)
    assert placeholder_shown.startswith(f"The job document's placeholder '{text[:40]}")
    assert fault in rule


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/b/{}",
        "https://h/b/{}${{aws:iot:parameter:x}}",
        "https://h/b/{}${{thingName}}",
    ],
)
@pytest.mark.parametrize("end", ["}", ""])
def test_a_long_placeholder_is_shown_by_its_first_80_characters(url: str, end: str) -> None:
    """Control plane 7.2, "Malformed": one line names it, wherever in the document it is."""
    text = "${aws:iot:s3-presigned-url:" + url.format("k" * 100) + end
    with pytest.raises(InvalidRequestError) as refused:
        at_creation(document("x" * 100, text), parameters=None, has_role=True)
    assert f"placeholder '{text[:80]}' " in refused.value.message


def test_a_presigned_url_needs_a_role() -> None:
    """Control plane 7.2, "roleArn": the job's own, or the service's default."""
    given = document(placeholder("s3-presigned-url", PATH_STYLE))
    assert at_creation(given, parameters=None, has_role=True) == given
    with pytest.raises(InvalidRequestError, match="roleArn"):
        at_creation(given, parameters=None, has_role=False)


def test_parameters_belong_to_managed_templates() -> None:
    """Control plane 7.2, the row of parameter; a value is not looked at for further ones."""
    given = document(placeholder("parameter", "x"))
    with pytest.raises(InvalidRequestError, match=r"in the job document; .* managed templates"):
        at_creation(given, parameters=None, has_role=True)
    with pytest.raises(InvalidRequestError, match=r"in a value of documentParameters; "):
        at_creation(given, parameters={"x": placeholder("parameter", "y")}, has_role=True)


def test_parameters_are_put_in_at_creation() -> None:
    """Control plane 7.4: textual, escaped for JSON; what is absent becomes the empty string (A26)."""
    given = document(
        placeholder("parameter", "a") + "-" + placeholder("parameter", "b"), placeholder("parameter", "c")
    )
    made = at_creation(given, parameters={"a": 'say "hi" \\ \u00e9', "b": "2"}, has_role=False)
    assert texts(made) == ['say "hi" \\ \u00e9-2', ""]


def test_a_value_may_be_a_presigned_url() -> None:
    """The downloadUrl of AWS-Download-File: it is checked at creation and signed at delivery."""
    value = placeholder("s3-presigned-url", PATH_STYLE)
    given = document(placeholder("parameter", "downloadUrl"))
    made = at_creation(given, parameters={"downloadUrl": value}, has_role=True)
    assert made == document(value)
    with pytest.raises(InvalidRequestError, match="roleArn"):
        at_creation(given, parameters={"downloadUrl": value}, has_role=False)


@pytest.mark.parametrize("value", ["${aws:iot:parameter:b}", "${aws:iot:", "${aws:iot:s3-presigned-url:x}"])
def test_a_value_is_not_looked_at_again_for_parameters(value: str) -> None:
    """Nothing can be smuggled in: such a value is refused."""
    with pytest.raises(InvalidRequestError):
        at_creation(document(placeholder("parameter", "a")), parameters={"a": value, "b": "x"}, has_role=True)


@hypothesis.given(st.text(alphabet=st.characters(exclude_categories=["C"])))
def test_any_value_arrives_as_it_was_given(value: str) -> None:
    """V17: quotes, backslashes and everything else survive inside the JSON string."""
    hypothesis.assume("${aws:iot:" not in value)
    made = at_creation(
        document("<" + placeholder("parameter", "a") + ">"), parameters={"a": value}, has_role=False
    )
    assert texts(made) == [f"<{value}>"]


pieces = st.sampled_from(
    [
        "${aws:iot:",
        "${",
        "}",
        ":",
        "parameter",
        "s3-presigned-url-upload",
        "https://h/b/k",
        "thingName",
        '"',
        "\\",
        "\u00e9",
    ]
)


@hypothesis.settings(max_examples=300)
@hypothesis.given(st.lists(pieces, max_size=12).map("".join))
def test_any_text_is_delivered_as_json_or_refused(text: str) -> None:
    """Bad input gets an error of its own; what is accepted at creation can be delivered."""
    try:
        made = at_creation(document(text), parameters=None, has_role=True)
    except InvalidRequestError:
        return
    texts(at_delivery(made, None, RECIPIENT, Signer()))


def test_the_kinds_are_told_apart() -> None:
    """Control plane 7.2: one row each."""
    given = document(*(placeholder(kind, "https://h/b/k") for kind in Kind))
    assert [found.kind for found in find(given)] == list(Kind)
    assert all(
        given[found.start : found.end].startswith("${aws:iot:" + found.kind + ":") for found in find(given)
    )


@pytest.mark.parametrize(
    "body", [{"expiresInSec": 59}, {"expiresInSec": 3601}, {"roleArn": "a" * 19}, {"roleArn": "a" * 2049}]
)
def test_a_configuration_out_of_its_range_is_refused(body: dict[str, object]) -> None:
    """Control plane 1.3."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, PresignedUrlConfig)
