"""Requests made from botocore's model, right and wrong: no fault, no hang, and a refusal changes nothing."""

import hashlib
import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import botocore.session
import msgspec
import pytest
from botocore.model import Shape

from tests.broker.http.served import Served
from thingjobs_broker.core.control import OPERATIONS
from thingjobs_broker.http import routes
from thingjobs_broker.store.capture import Capture

SEED: Final = 7
REQUESTS: Final = 30
"""For each operation."""

_SESSION = botocore.session.get_session()
MODELS = {name: _SESSION.get_service_model(name) for name in (routes.CONTROL, routes.DATA)}
ROUTES = [route for route in routes.ROUTES if not route.template.startswith(routes.OWN_PREFIX)]
OWN = [route for route in routes.ROUTES if route.template.startswith(routes.OWN_PREFIX)]

NAMES: Final = ("a", "b", "g", "j", "t", "press", "$next", "no one", "ü/ö", "x" * 129, "..", "%", "1")
"""Some of them name something."""

TEXTS: Final = (
    *NAMES,
    "",
    "{}",
    "[1]",
    '{"a":1}',
    "NEW",
    "\0",
    "\u2028",
    "IN_PROGRESS",
    "thingName:a",
    "x" * 3000,
)
NUMBERS: Final = (0, 1, 2, -1, 5, 250, 251, 10_080, 2**31, 2**63 - 1, 2**63, -(2**63) - 1)
KNOWN: Final = {"jobId": "j", "thingName": "a", "thingGroupName": "g", "targets": ["a"], "document": "{}"}
"""Members that mean something."""

WRONG: Final[tuple[Any, ...]] = (None, True, 1.5, [], {}, "text", [[]], {"a": {"a": None}}, 10**30)


class Maker:
    """Makes values by their shapes, mostly right ones."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def value(self, shape: Shape, depth: int = 0) -> Any:
        """A value of a shape, now and then of another."""
        dice = self.dice
        if dice.random() < 0.03 or depth > 5:
            return dice.choice(WRONG)
        kind = shape.type_name
        if kind == "structure":
            required = set(shape.required_members)
            return {
                name: self.value(member, depth + 1)
                for name, member in shape.members.items()
                if dice.random() < (0.95 if name in required else 0.3)
            }
        if kind == "list":
            return [self.value(shape.member, depth + 1) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
        if kind == "map":
            return {
                self.text(shape.key): self.value(shape.value, depth + 1)
                for _ in range(dice.choice((0, 1, 2)))
            }
        if kind == "boolean":
            return dice.random() < 0.5
        if kind in {"integer", "long"}:
            return dice.choice(NUMBERS)
        if kind in {"double", "float", "timestamp"}:
            return dice.choice((0.0, 1.1, 1.55, 50.0, 100.0, -1.0, 1e308))
        return self.text(shape)

    def text(self, shape: Shape) -> str:
        """A text: one of the enumeration, a name that means something, or any."""
        dice = self.dice
        enum = getattr(shape, "enum", None)
        if enum and dice.random() < 0.9:
            return str(dice.choice(enum))
        if shape.name in {"TargetArn", "ResourceArn", "JobTemplateArn", "ThingArn", "ThingGroupArn"}:
            kind = dice.choice(("thing", "thinggroup", "job", "jobtemplate"))
            return f"arn:aws:iot:local:000000000000:{kind}/{dice.choice(NAMES)}"
        if dice.random() < 0.1:
            return "".join(dice.choices(string.printable + "äß漢\U0001f600", k=dice.randrange(40)))
        return dice.choice(NAMES if "Name" in shape.name or "Id" in shape.name else TEXTS)

    def request(self, route: routes.Route) -> tuple[str, bytes]:
        """Target and body of a request."""
        model = MODELS[route.service].operation_model(route.operation)
        members = {name: self.value(shape) for name, shape in model.input_shape.members.items()}
        path = route.template
        for name in route.labels:
            path = path.replace(f"{{{name}}}", quote(plain(members.pop(name, "a")), safe=""))
        required = set(model.input_shape.required_members)
        given = {
            name: value
            for name, value in members.items()
            if self.dice.random() < (0.95 if name in required else 0.35)
        }
        query = {name: plain(given.pop(name)) for name in route.query if name in given}
        target = f"{path}?{urlencode(query, quote_via=quote)}" if query else path
        body = json.dumps(given).encode() if route.has_body else b""
        if self.dice.random() < 0.05:
            body = body[: self.dice.randrange(len(body) + 1)] + self.dice.randbytes(3)
        return target, body


def plain(value: Any) -> str:
    """A value as it stands in a path or a query."""
    return value if isinstance(value, str) and value else json.dumps(value)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service in which some names mean something."""
    with Served(Path(tmp_path_factory.mktemp("fuzz")), test_clock=True) as served:
        iot = served.iot
        for name in ("a", "b"):
            iot.create_thing(thingName=name)
        iot.create_thing_group(thingGroupName="g")
        iot.create_thing_type(thingTypeName="press")
        iot.create_job_template(jobTemplateId="t", description="d", document="{}")
        iot.create_job(jobId="j", targets=["a", "b"], document="{}")
        yield served
        assert not served.failures


def contents(served: Served) -> bytes:
    """Everything that a refused request must not change: the journal's length, and the whole state."""
    runner = served.host.runner
    assert runner is not None
    state = runner.state
    assert state is not None
    capture = Capture(state)
    slices = iter(capture.next_slice, None)
    digest = hashlib.sha256(b"".join(row for rows in slices for row in rows))
    return b"%d %s" % (runner.commits.position, digest.digest())


def test_the_contents_tell_of_every_change(furnished: Served) -> None:
    """A description that is another is enough."""
    before = contents(furnished)
    furnished.iot.update_job(jobId="j", description="other")
    assert contents(furnished) != before


def own_request(dice: random.Random, operation: str) -> bytes:
    """A body for an operation of our own, of the members that its request has."""
    names = [field.encode_name for field in msgspec.structs.fields(OPERATIONS[operation].request_type)]
    values: tuple[Any, ...] = (*NAMES, *TEXTS, *NUMBERS, *WRONG, ["a"], ["g"], "j", "a", "g")
    members = {name: dice.choice(values) for name in names if dice.random() < 0.7}
    if dice.random() < 0.5:
        # Those that name something get far enough to be carried out.
        members |= {name: known for name, known in KNOWN.items() if name in names}
    body = json.dumps(members).encode()
    return body if dice.random() > 0.05 else body[: dice.randrange(len(body) + 1)] + dice.randbytes(3)


@pytest.mark.parametrize("route", OWN, ids=lambda route: route.operation)
def test_no_request_for_our_own_operations_is_a_fault_or_half_done(
    furnished: Served, route: routes.Route
) -> None:
    """The same for those that AWS does not have."""
    dice = random.Random(SEED + len(route.operation))
    for _ in range(REQUESTS):
        body = own_request(dice, route.operation)
        before = contents(furnished)
        status, _, content = furnished.raw(route.method, route.template, body)
        what = f"{route.template} {body!r}: {status} {content!r}"
        assert status < 500, what
        assert isinstance(json.loads(content), dict), what
        assert status == 200 or contents(furnished) == before, what


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.service}-{route.operation}")
def test_no_request_of_the_model_is_a_fault_or_half_done(furnished: Served, route: routes.Route) -> None:
    """Every answer is 200, or a refusal that names its reason and leaves no record."""
    maker = Maker(SEED + len(route.operation))
    known = {
        shape.error_code
        for operation in MODELS[route.service].operation_names
        for shape in MODELS[route.service].operation_model(operation).error_shapes
    }
    scope = f"AWS4-HMAC-SHA256 Credential=k/20261122/local/{route.service}/aws4_request, SignedHeaders=host, "
    headers = {
        "authorization": f"{scope}Signature={'0' * 64}",
        "x-amz-date": "20261122T000000Z",
        "content-type": "application/json",
    }
    for _ in range(REQUESTS):
        target, body = maker.request(route)
        before = contents(furnished)
        status, answered, content = furnished.raw(route.method, target, body, headers)
        what = f"{route.method} {target} {body!r}: {status} {content!r}"
        assert status < 500, what
        if status == 200:
            assert isinstance(json.loads(content), dict), what
            continue
        assert json.loads(content)["message"], what
        code = answered["x-amzn-errortype"]
        # Some that the model does not list at the operation are the specification's.
        assert code in known | {"UnknownOperationException"}, what
        assert contents(furnished) == before, what
