"""The table of routes is botocore's: paths, methods, and where every member travels."""

import json

import botocore.session
import msgspec
import pytest

from thingjobs_broker.core.control import OPERATIONS
from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_broker.http import routes

_SESSION = botocore.session.get_session()
MODELS = {name: _SESSION.get_service_model(name) for name in (routes.CONTROL, routes.DATA)}
OF_AWS = [route for route in routes.ROUTES if not route.template.startswith(routes.OWN_PREFIX)]


@pytest.mark.parametrize("route", OF_AWS, ids=lambda route: f"{route.service}-{route.operation}")
def test_a_route_is_that_of_the_service_model(route: routes.Route) -> None:
    """Method, path, labels, query members and their kinds are those of botocore's model."""
    model = MODELS[route.service].operation_model(route.operation)
    assert (route.method, route.template) == (model.http["method"], model.http["requestUri"])
    members = model.input_shape.members
    for name, shape in members.items():
        assert shape.serialization.get("name", name) == name
    at = {
        place: {name for name, shape in members.items() if shape.serialization.get("location") == place}
        for place in ("uri", "querystring", "header", "headers")
    }
    assert set(route.labels) == at["uri"]
    assert set(route.query) == at["querystring"]
    assert not at["header"] | at["headers"]
    known = {*route.labels, *route.query}
    if route.service == routes.CONTROL:
        # What the core does not know yet is ignored, whatever its kind.
        fields = msgspec.structs.fields(OPERATIONS[route.operation].request_type)
        known &= {field.encode_name for field in fields}
    for name in known:
        kind = {"boolean": "boolean", "integer": "integer", "long": "integer"}.get(
            members[name].type_name, "text"
        )
        assert route.kinds.get(name, "text") == kind, name


def test_every_operation_of_the_core_has_a_route() -> None:
    """What AWS does not have is reached under a path of our own."""
    assert {route.operation for route in routes.ROUTES if route.service == routes.CONTROL} == set(OPERATIONS)
    own = {route.operation for route in routes.ROUTES} - {route.operation for route in OF_AWS}
    assert not own & set(MODELS[routes.CONTROL].operation_names)


def test_paths_that_both_planes_share_are_told_apart_by_the_service() -> None:
    """Spec: control plane 1.1, V18."""
    found = [routes.match(service, "GET", "/things/t/jobs") for service in (routes.CONTROL, routes.DATA)]
    assert [one and one.route.operation for one in found] == [
        "ListJobExecutionsForThing",
        "GetPendingJobExecutions",
    ]


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ("/things/a%3Ab/jobs/j", ("a:b", "j")),
        ("/things/a%2Fb/jobs/j", ("a/b", "j")),
        ("/things/%C3%A9/jobs/%24next", ("é", "$next")),
        ("/things/a%2525/jobs/j", ("a%25", "j")),
    ],
)
def test_a_path_is_split_before_it_is_decoded(path: str, labels: tuple[str, ...]) -> None:
    """A label may hold an encoded slash, and is decoded once (spec: control plane 1.1)."""
    found = routes.match(routes.DATA, "GET", path)
    assert found is not None
    assert found.labels == labels


def test_next_is_started_literally_or_encoded() -> None:
    """StartNextPendingJobExecution has `$next` in its path, which clients write in two ways."""
    for path in ("/things/t/jobs/$next", "/things/t/jobs/%24next"):
        found = routes.match(routes.DATA, "PUT", path)
        assert found is not None
        assert (found.route.operation, found.labels) == ("StartNextPendingJobExecution", ("t",))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", ""), ("GET", "/"), ("GET", "/jobs/"), ("GET", "//jobs"), ("GET", "/jobs/a/b")),
        *(("GET", "/things//jobs"), ("POST", "/jobs/j"), ("GET", "/{}"), ("GET", "/things/t/jobs/j/")),
        *(("HEAD", "/jobs"), ("PUT", "/things/t/jobs/$next")),
    ],
)
def test_what_is_no_operation_matches_nothing(method: str, path: str) -> None:
    """Another method, an empty label, a segment too many."""
    assert routes.match(routes.CONTROL, method, path) is None


def members(path: str, query: bytes = b"", body: bytes = b"", method: str = "PUT") -> bytes:
    """The members of a request of the control plane."""
    found = routes.match(routes.CONTROL, method, path)
    assert found is not None
    return routes.members(found, query, body)


def test_members_come_from_the_place_where_they_belong() -> None:
    """`force` counts in the query alone, the job id in the path alone; unknown members are ignored (1.1)."""
    given = members("/jobs/j/cancel", b"force=true&x=1", b'{"force":false,"jobId":"k","comment":"c"}')
    assert json.loads(given) == {"jobId": "j", "comment": "c", "force": True}
    assert members("/jobs/j/cancel", b"", b'{"force":true}') == b'{"jobId":"j"}'


def test_a_body_where_none_belongs_is_not_looked_at() -> None:
    """A GET may carry anything."""
    assert members("/jobs/j", b"beforeSubstitution=false", b"\xff", "GET") == (
        b'{"beforeSubstitution":false,"jobId":"j"}'
    )


@pytest.mark.parametrize(
    ("path", "query", "body", "message"),
    [
        ("/jobs/j/cancel", b"force=True", b"", "CancelJob: force 'True' is not true or false"),
        ("/jobs/j/cancel", b"force=true&force=true", b"", "CancelJob: force is given twice in the query"),
        ("/jobs/j/cancel", b"", b"[]", "CancelJob: the body is not a JSON object"),
        ("/jobs/j/cancel", b"", b"{", "CancelJob: the body is not JSON: Input data was truncated"),
        ("/jobs/j/cancel", b"", b'{"a":"\xff"}', "CancelJob: the body is not JSON: "),
        ("/jobs/j/cancel", b"", b"[" * 100_000, "CancelJob: the body is "),
        ("/jobs/%ff/cancel", b"", b"", "the path holds bytes that are not UTF-8"),
        ("/jobs/j/cancel", b"force=%ff", b"", "the query holds bytes that are not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_an_invalid_request(
    path: str, query: bytes, body: bytes, message: str
) -> None:
    """One line that names the operation, the member, and what was expected."""
    with pytest.raises(InvalidRequestError) as refused:
        members(path, query, body)
    assert refused.value.message.startswith(message)


@pytest.mark.parametrize("text", ["", "1.5", "1e3", "0x1", " 1", "٣", "1" * 20, "--1"])
def test_numbers_are_whole_and_decimal(text: str) -> None:
    """An execution number is digits."""
    with pytest.raises(InvalidRequestError, match="is not a whole number"):
        members("/things/t/jobs/j", f"executionNumber={text}".encode(), b"", "GET")
