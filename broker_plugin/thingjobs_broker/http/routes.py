"""Which operation a method and a path stand for, and where its members are: path, query or body.

Pure (spec: control plane 1.1, 1.4, 1.8).

What an operation does, and the types of its members, is the table of the core's; this one adds the way they
travel over HTTP.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from thingjobs_broker.core.control import OPERATIONS
from thingjobs_broker.core.errors import InvalidRequestError

Kind = Literal["text", "boolean", "integer"]

CONTROL: Final = "iot"
DATA: Final = "iot-jobs-data"

OWN_PREFIX: Final = "/thingjobs/"
"""Operations that AWS does not have: POST /thingjobs/{Operation}, all members in the body."""

_TABLE: Final = """
iot CreateJob                   PUT    /jobs/{jobId}
iot DescribeJob                 GET    /jobs/{jobId}                     beforeSubstitution
iot GetJobDocument              GET    /jobs/{jobId}/job-document        beforeSubstitution
iot ListJobs                    GET    /jobs                             status targetSelection \
thingGroupName thingGroupId namespaceId maxResults nextToken
iot UpdateJob                   PATCH  /jobs/{jobId}                     namespaceId
iot CancelJob                   PUT    /jobs/{jobId}/cancel              force
iot DeleteJob                   DELETE /jobs/{jobId}                     force namespaceId
iot AssociateTargetsWithJob     POST   /jobs/{jobId}/targets             namespaceId
iot ListJobExecutionsForJob     GET    /jobs/{jobId}/things              status maxResults nextToken
iot ListJobExecutionsForThing   GET    /things/{thingName}/jobs          status namespaceId maxResults \
nextToken jobId
iot DescribeJobExecution        GET    /things/{thingName}/jobs/{jobId}  executionNumber
iot CancelJobExecution          PUT    /things/{thingName}/jobs/{jobId}/cancel  force
iot DeleteJobExecution          DELETE /things/{thingName}/jobs/{jobId}/executionNumber/{executionNumber} \
force namespaceId
iot CreateJobTemplate           PUT    /job-templates/{jobTemplateId}
iot DescribeJobTemplate         GET    /job-templates/{jobTemplateId}
iot DeleteJobTemplate           DELETE /job-templates/{jobTemplateId}
iot ListJobTemplates            GET    /job-templates                    maxResults nextToken
iot DescribeManagedJobTemplate  GET    /managed-job-templates/{templateName}  templateVersion
iot ListManagedJobTemplates     GET    /managed-job-templates            templateName maxResults nextToken
iot TagResource                 POST   /tags
iot UntagResource               POST   /untag
iot ListTagsForResource         GET    /tags                             resourceArn nextToken
iot CreateThing                 POST   /things/{thingName}
iot DescribeThing               GET    /things/{thingName}
iot UpdateThing                 PATCH  /things/{thingName}
iot DeleteThing                 DELETE /things/{thingName}               expectedVersion
iot ListThings                  GET    /things                           nextToken maxResults attributeName \
attributeValue thingTypeName usePrefixAttributeValue
iot CreateThingType             POST   /thing-types/{thingTypeName}
iot DescribeThingType           GET    /thing-types/{thingTypeName}
iot UpdateThingType             PATCH  /thing-types/{thingTypeName}
iot DeleteThingType             DELETE /thing-types/{thingTypeName}
iot DeprecateThingType          POST   /thing-types/{thingTypeName}/deprecate
iot ListThingTypes              GET    /thing-types                      nextToken maxResults thingTypeName
iot CreateThingGroup            POST   /thing-groups/{thingGroupName}
iot DescribeThingGroup          GET    /thing-groups/{thingGroupName}
iot UpdateThingGroup            PATCH  /thing-groups/{thingGroupName}
iot DeleteThingGroup            DELETE /thing-groups/{thingGroupName}    expectedVersion
iot ListThingGroups             GET    /thing-groups                     nextToken maxResults parentGroup \
namePrefixFilter recursive
iot AddThingToThingGroup        PUT    /thing-groups/addThingToThingGroup
iot RemoveThingFromThingGroup   PUT    /thing-groups/removeThingFromThingGroup
iot UpdateThingGroupsForThing   PUT    /thing-groups/updateThingGroupsForThing
iot ListThingsInThingGroup      GET    /thing-groups/{thingGroupName}/things  recursive nextToken maxResults
iot ListThingGroupsForThing     GET    /things/{thingName}/thing-groups  nextToken maxResults
iot CreateDynamicThingGroup     POST   /dynamic-thing-groups/{thingGroupName}
iot UpdateDynamicThingGroup     PATCH  /dynamic-thing-groups/{thingGroupName}
iot DeleteDynamicThingGroup     DELETE /dynamic-thing-groups/{thingGroupName}  expectedVersion
iot SearchIndex                 POST   /indices/search
iot DescribeIndex               GET    /indices/{indexName}
iot ListIndices                 GET    /indices                          nextToken maxResults
iot GetIndexingConfiguration    GET    /indexing/config
iot UpdateIndexingConfiguration POST   /indexing/config
iot DescribeEndpoint            GET    /endpoint                         endpointType
iot DescribeEventConfigurations GET    /event-configurations
iot UpdateEventConfigurations   PATCH  /event-configurations
iot-jobs-data GetPendingJobExecutions       GET   /things/{thingName}/jobs
iot-jobs-data StartNextPendingJobExecution  PUT   /things/{thingName}/jobs/$next
iot-jobs-data DescribeJobExecution          GET   /things/{thingName}/jobs/{jobId}  includeJobDocument \
executionNumber
iot-jobs-data UpdateJobExecution            POST  /things/{thingName}/jobs/{jobId}
"""
"""Service, operation, method, path, and which members are in the query; the others are in the body."""

_DATA_KINDS: Final[dict[str, Kind]] = {"includeJobDocument": "boolean", "executionNumber": "integer"}
_WITH_BODY: Final = frozenset({"PUT", "POST", "PATCH"})
_is_integer: Final = re.compile(r"-?[0-9]{1,19}").fullmatch
_BOOLEANS: Final = {"true": True, "false": False}


class Route(NamedTuple):
    """How one operation travels. `labels` are the members in the path, in order."""

    service: str
    operation: str
    method: str
    template: str
    labels: tuple[str, ...]
    query: tuple[str, ...]
    kinds: dict[str, Kind]

    @property
    def has_body(self) -> bool:
        """Whether members travel in the body; another body is not looked at."""
        return self.method in _WITH_BODY

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        return self.operation.startswith(("Describe", "Get", "List", "Search"))


class Match(NamedTuple):
    """A route and the labels found in a path."""

    route: Route
    labels: tuple[str, ...]


def _kinds(operation: str) -> dict[str, Kind]:
    """Return the kinds of an operation's members that are no texts, from the type of its request."""
    kinds: dict[str, Kind] = {}
    for field in msgspec.structs.fields(OPERATIONS[operation].request_type):
        found = msgspec.inspect.type_info(field.type)
        types = found.types if isinstance(found, msgspec.inspect.UnionType) else (found,)
        if any(isinstance(one, msgspec.inspect.BoolType) for one in types):
            kinds[field.encode_name] = "boolean"
        elif any(isinstance(one, msgspec.inspect.IntType) for one in types):
            kinds[field.encode_name] = "integer"
    return kinds


def _routes() -> list[Route]:
    found = []
    for row in _TABLE.strip().splitlines():
        service, operation, method, template, *query = row.split()
        if service == CONTROL and operation not in OPERATIONS:
            continue
        labels = tuple(re.findall(r"\{(\w+)\}", template))
        kinds = _kinds(operation) if service == CONTROL else _DATA_KINDS
        found.append(Route(service, operation, method, template, labels, tuple(query), kinds))
    own = sorted(set(OPERATIONS) - {route.operation for route in found if route.service == CONTROL})
    found += [Route(CONTROL, name, "POST", OWN_PREFIX + name, (), (), {}) for name in own]
    return found


ROUTES: Final = tuple(_routes())

_Tree = dict[str, Any]


def _tree() -> _Tree:
    """Return the routes by service and method, then segment by segment; a label is a segment `{}`."""
    tree: _Tree = {}
    for route in ROUTES:
        node = tree.setdefault(f"{route.service} {route.method}", {})
        for segment in route.template.split("/")[1:]:
            node = node.setdefault("{}" if segment.startswith("{") else segment, {})
        node[""] = route
    return tree


_ROOTS: Final = _tree()


def match(service: str, method: str, raw_path: str) -> Match | None:
    """Return what a path stands for, None where it stands for nothing.

    The path is split before it is decoded, so that a label may hold an encoded slash (spec: control plane
    1.1).

    Raises:
        InvalidRequestError: a label is not UTF-8.

    """
    node: Any = _ROOTS.get(f"{service} {method}")
    labels: list[str] = []
    for segment in raw_path.split("/")[1:]:
        if not node or not segment:
            return None
        text = _decoded(segment, "the path")
        if text in node and text != "{}":
            node = node[text]
        else:
            labels.append(text)
            node = node.get("{}")
    route = node.get("") if node else None
    return Match(route, tuple(labels)) if route is not None else None


def members(found: Match, query: bytes, body: bytes) -> bytes:
    """Return an operation's members, from path, query and body, as the JSON object that the core decodes.

    Unknown members are ignored, and so are those that stand in another place than they have to (1.1).

    Raises:
        InvalidRequestError: the body is no JSON object, or a text in path or query not what it should be.

    """
    route = found.route
    if not found.labels and not route.query:
        # As it came: the core says what is wrong with it.
        return body if route.has_body else b""
    given: dict[str, Any] = _object(route, body) if route.has_body else {}
    for name in route.query:
        given.pop(name, None)
    for name, text in query_pairs(query):
        if name not in route.query:
            continue
        if name in given:
            message = f"{route.operation}: {name} is given twice in the query"
            raise InvalidRequestError(message)
        given[name] = _typed(route, name, text)
    for name, text in zip(route.labels, found.labels, strict=True):
        given[name] = _typed(route, name, text)
    return msgspec.json.encode(given)


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a query, decoded.

    Raises:
        InvalidRequestError: they are not UTF-8.

    """
    pairs = [pair.partition("=") for pair in query.decode("latin-1").split("&") if pair]
    return [(_decoded(name, "the query"), _decoded(value, "the query")) for name, _, value in pairs]


def _typed(route: Route, name: str, text: str) -> Any:
    kind = route.kinds.get(name, "text")
    if kind == "text":
        return text
    if kind == "boolean" and text in _BOOLEANS:
        return _BOOLEANS[text]
    if kind == "integer" and _is_integer(text):
        return int(text)
    expected = "true or false" if kind == "boolean" else "a whole number"
    message = f"{route.operation}: {name} {text[:40]!r} is not {expected}"
    raise InvalidRequestError(message)


def _object(route: Route, body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except msgspec.ValidationError:
        message = f"{route.operation}: the body is not a JSON object"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{route.operation}: the body is not JSON: {error}"
    except RecursionError:
        message = f"{route.operation}: the body is nested too deeply"
    raise InvalidRequestError(message)


def _decoded(text: str, where: str) -> str:
    if "%" not in text and text.isascii():
        return text
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        message = f"{where} holds bytes that are not UTF-8"
        raise InvalidRequestError(message) from None
