"""The query language of dynamic groups and search (control plane 1.9)."""

import re
import time
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from thingjobs_broker.core.query import QueryError, parse
from thingjobs_broker.core.query_match import Indexed

PUMP = Indexed(
    "Pump-1",
    "id-1",
    "pumpType",
    ("Hall-A", "all"),
    {"site": "Berlin", "rpm": "900", "fw.version": "1.10", "note": "a*b", "empty": ""},
    {"connected": True, "timestamp": 1_700_000_000_000, "disconnectReason": "NOT_DISCONNECTED"},
    {
        "": {"reported": {"temp": 20.5, "net": {"ssid": "Guest Net"}, "tags": ["x", 7]}, "hasDelta": False},
        "cfg": {"desired": {"mode": "eco", "mark": ""}, "hasDelta": True},
    },
)
TV = Indexed("tv:9", "id-2", "", ("Hall-B",), {"site": "Bonn", "rpm": "fast"})
BARE = Indexed("x")
ALL = [PUMP, TV, BARE]


def found(text: str) -> str:
    """The initials of the things that a query matches: p, t, x."""
    query = parse(text)
    return "".join(thing.thing_name[0].lower() for thing in ALL if query.matches(thing))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", "ptx"),
        ("thingName:pump-1", "p"),
        ("thingName:PUMP*", "p"),
        ("thingName:tv:9", "t"),
        ('thingName:"tv:9"', "t"),
        (r"thingName:tv\:9", "t"),
        ("thingName:(pump* OR tv*)", "pt"),
        ("thingName:(* AND -tv*)", "px"),
        ("thingName:(tv:9 x)", ""),
        ("thingTypeName:pumptype", "p"),
        ("thingId:*", "pt"),
        ("thingTypeName:*", "p"),
        ("NOT thingTypeName:*", "tx"),
        ("-thingTypeName:*", "tx"),
        ("thingGroupNames:hall-b", "t"),
        ("thingGroupNames:hall*", "pt"),
        ("attributes.site:b?nn", "t"),
        ("attributes.site:b*n*", "pt"),
        ("attributes.site:*lin", "p"),
        ("attributes.site:er", ""),
        ("attributes.site:bon*onn", ""),
        ("attributes.fw.version:1.10", "p"),
        ("attributes.fw.version:1.1", ""),
        ("attributes.Site:*", ""),
        ('attributes.empty:""', "p"),
        (r"attributes.note:a\*b", "p"),
        ('attributes.note:"a*b"', "p"),
        (r"attributes.note:a\?b", ""),
        ("attributes.note:a?b", "p"),
        ("connectivity.connected:true", "p"),
        ("connectivity.connected:1", ""),
        ("connectivity.connected>0", ""),
        ("connectivity.connected:TRUE AND connectivity.disconnectReason:not*", "p"),
        ("connectivity.timestamp:1700000000000", "p"),
        ("connectivity.timestamp>=1700000000000", "p"),
        ("connectivity.timestamp>1700000000000", ""),
        ("shadow.reported.temp:20.50", "p"),
        ("shadow.reported.temp>20", "p"),
        ('shadow.reported.net.ssid:"guest net"', "p"),
        ("shadow.reported.net:*", "p"),
        ("shadow.reported.net:guest*", ""),
        ("shadow.reported.tags:7", "p"),
        ("shadow.reported.tags:x", "p"),
        ("shadow.hasDelta:false", "p"),
        ("shadow.name.cfg.hasDelta:true shadow.name.cfg.desired.mode:eco", "p"),
        ("shadow.name.other.hasDelta:*", ""),
        ("berlin", "p"),
        ("bon?", "t"),
        ("hall*", "pt"),
        ("id-1", "p"),
        ("site", ""),
        ('"Guest Net"', "p"),
        ("eco", "p"),
        ("7", "p"),
        ("shadow.name.cfg.desired.mark:{* TO b]", "p"),
    ],
)
def test_a_term_finds_what_it_says(text: str, expected: str) -> None:
    """Control plane 1.9, "term", "Matching": case matters in names only."""
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("attributes.rpm>100", "p"),
        ("attributes.rpm>=900", "p"),
        ("attributes.rpm<1000", "p"),
        ("attributes.rpm<=899.9", ""),
        ("attributes.rpm>-5", "p"),
        ("attributes.rpm:[100 TO 900]", "p"),
        ("attributes.rpm:[100 TO 900}", ""),
        ("attributes.rpm:{900 TO 1000]", ""),
        ("attributes.rpm:[-5 TO 9e2]", "p"),
        ("attributes.rpm:[* TO 1000]", "p"),
        ("attributes.rpm:[* TO *]", "pt"),
        ("attributes.rpm:(>100 <1000)", "p"),
        ("attributes.rpm>a", "t"),
        ("attributes.site:[be TO bf}", "p"),
        ('attributes.site:["bo" TO "BONN"]', "t"),
        ("attributes.site>berlin", "t"),
        ("attributes.missing<5", ""),
        ("NOT attributes.missing<5", "ptx"),
    ],
)
def test_numbers_compare_as_numbers_and_text_as_text(text: str, expected: str) -> None:
    """Control plane 1.9, "Matching": numeric when both sides are numbers; 900 is more than 1000 as text."""
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("berlin AND connectivity.connected:true", "p"),
        ("berlin connectivity.connected:false", ""),
        ("berlin OR bonn", "pt"),
        ("hall* NOT bonn", "p"),
        ("hall* AND NOT bonn", "p"),
        ("hall* -bonn", "p"),
        ("-(berlin OR bonn)", "x"),
        ('-"berlin"', "tx"),
        ("bonn OR berlin AND thingName:tv*", "t"),
        ("(bonn OR berlin) AND thingName:tv*", "t"),
        ("bonn berlin OR thingName:x", "x"),
        ("NOT bonn OR bonn", "ptx"),
        ("((((bonn))))", "t"),
        ("and", ""),
        (r"\AND OR bonn", "t"),
        ("thingName:AND OR bonn", "t"),
        ("  bonn  ", "t"),
    ],
)
def test_operators_bind_as_the_grammar_says(text: str, expected: str) -> None:
    """Control plane 1.9, "Grammar": AND is the default and binds tighter than OR."""
    assert found(text) == expected


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_a_blank_query_is_an_invalid_request(text: str) -> None:
    """Control plane 1.9, "Errors"."""
    with pytest.raises(QueryError) as refused:
        parse(text)
    assert refused.value.code == "InvalidRequestException"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("AND", "a term"),
        ("bonn AND", "the end"),
        ("bonn OR OR berlin", "'OR' at position 9"),
        ("NOT", "the end"),
        ("NOT NOT bonn", "a term"),
        ("NOT -bonn", "a term"),
        ("- bonn", "directly after -"),
        ("-[bonn", "a term"),
        ("bonn -", "directly after -|a term"),
        ("(bonn", "parenthesis at position 1"),
        ("bonn)", "AND, OR or another term"),
        ("()", "a term"),
        ("thingName:", "a value"),
        ("thingName:()", "a term|a value"),
        ("thingName: AND bonn", "a value"),
        (":bonn", "a term"),
        ("thingName :bonn", "a term"),
        ("thingName>", "a bound"),
        ("thingName>(a)", "a bound"),
        ("> 5", "a term"),
        ("[1 TO 2]", "a term"),
        ("thingName:[1 2]", "TO"),
        ("thingName:[1 TO 2", "] or }"),
        ("thingName:[1 TO ]", "a bound"),
        ("thingName:1 TO 2]", "a term, not ']' at position 17"),
        ('thingName:"pump', "closing quote"),
        ("bonn\\", "escapes nothing"),
        *((f"a{character}b", "escaped") for character in "`@#%/';,"),
        ("thingname:x", "Unknown field 'thingname'"),
        ("attribute.site:x", "Unknown field"),
        ("attributes:x", "Unknown field"),
        ("attributes.:x", "Unknown field"),
        ("connectivity.up:true", "Unknown field"),
        ("shadow.temp:1", "Unknown field"),
        ("shadow.reported:1", "Unknown field"),
        ('"thingName":x', "another term|a term"),
        ("a***b", "may have 2 *"),
        ("a??????b", "5 ?"),
        ("*a OR ?b", "begins with a wildcard"),
        ("*a " + "b" * 100, "100 characters"),
        ("(" * 21 + "a" + ")" * 21, "parentheses"),
        ("b" * 1001, "1000 characters"),
        (" ".join("abcdefghijklm"), "more than 12 terms"),
    ],
)
def test_a_fault_is_named(text: str, fault: str) -> None:
    """Control plane 1.9, "Errors", "Wildcards", "Query terms": InvalidQueryException with the position."""
    with pytest.raises(QueryError) as refused:
        parse(text, 12)
    assert refused.value.code == "InvalidQueryException"
    assert any(word in refused.value.message for word in fault.split("|"))


@pytest.mark.parametrize("character", list("`@#%/';,\\:()[]{}\"<> "))
def test_an_escaped_character_stands_for_itself(character: str) -> None:
    """Control plane 1.9, "Escaping"; in a phrase only the quote and the backslash need it."""
    thing = Indexed("x", attributes={"a": f"1{character}2"})
    assert parse(f"attributes.a:1\\{character}2").matches(thing)
    quoted = f"\\{character}" if character in '"\\' else character
    assert parse(f'attributes.a:"1{quoted}2"').matches(thing)


def test_limits_of_terms_are_exact() -> None:
    """Control plane 1.9: 12 terms, 5 in a dynamic group; 100 characters with a leading wildcard."""
    parse(" ".join("abcdefghijkl"), 12)
    parse(" ".join("abcde"), 5)
    with pytest.raises(QueryError):
        parse(" ".join("abcdef"), 5)
    with pytest.raises(QueryError):
        parse("thingName:(a b c) OR attributes.n:[1 TO 2] OR x>=y OR z", 5)
    parse("*" + "a" * 99)
    parse("thingName:* AND attributes.a:* AND *a")
    parse("(" * 20 + "a" + ")" * 20)
    parse("b" * 1000)


def test_a_letter_that_grows_when_it_is_lowered_is_found_at_the_end() -> None:
    """Control plane 1.9, "Matching": values are compared without regard to case, wildcard or none."""
    thing = Indexed("x", shadows={"": {"reported": {"city": "Ab\u0130"}}})
    for text in ("ab\u0130", "a*\u0130", "*b\u0130", "?b\u0130"):
        assert parse(f"shadow.reported.city:{text}").matches(thing)


def test_a_query_tells_its_fields() -> None:
    """A dynamic group is evaluated anew only for what it looks at."""
    assert parse("thingName:a attributes.b:(c OR d) e").fields == {"thingName", "attributes.b", "*"}


texts = st.text(alphabet="ab.", max_size=12)
patterns = st.text(alphabet="ab.", max_size=4)


@hypothesis.given(
    texts,
    st.lists(st.sampled_from(["a", "B", ".", "ab", "?"]), max_size=6),
    st.sets(st.integers(0, 6), max_size=2),
)
def test_wildcards_match_like_a_regular_expression(text: str, parts: list[str], stars: set[int]) -> None:
    """Against `re`: * is any run of characters, ? exactly one."""
    for place in sorted(stars, reverse=True):
        parts.insert(min(place, len(parts)), "*")
    pattern = "".join(parts)
    hypothesis.assume(pattern.strip("*") and pattern.count("?") <= 5)
    expected = re.fullmatch(
        "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in pattern), text, re.IGNORECASE
    )
    assert parse(f"attributes.a:{pattern}").matches(Indexed("x", attributes={"a": text})) is bool(expected)


def test_a_term_made_to_be_slow_is_not() -> None:
    """Bounded work: no backtracking over the longest attribute value."""
    query = parse("attributes.a:a*a?????*ab")
    thing = Indexed("x", attributes={"a": "a" * 800})
    started = time.process_time()
    for _ in range(20):
        assert not query.matches(thing)
    assert time.process_time() - started < 0.5


atoms = st.sampled_from(
    ["berlin", "bonn", "thingName:tv*", "attributes.rpm>100", "hall*", "attributes.site:*"]
)
trees = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(st.just("NOT"), inner), st.tuples(st.sampled_from(["AND", "OR", ""]), inner, inner)
    ),
    max_leaves=8,
)


def written(tree: Any) -> str:
    if isinstance(tree, str):
        return tree
    if tree[0] == "NOT":
        return f"NOT ({written(tree[1])})"
    return f"({written(tree[1])}) {tree[0]} ({written(tree[2])})"


def holds(tree: Any, thing: Indexed) -> bool:
    if isinstance(tree, str):
        return parse(tree).matches(thing)
    if tree[0] == "NOT":
        return not holds(tree[1], thing)
    parts = [holds(tree[1], thing), holds(tree[2], thing)]
    return any(parts) if tree[0] == "OR" else all(parts)


@hypothesis.given(trees)
def test_a_composed_query_is_what_its_parts_are(tree: Any) -> None:
    """Control plane 1.9, "Grammar": the whole follows from the parts by the rules of logic."""
    query = parse(written(tree))
    assert [query.matches(thing) for thing in ALL] == [holds(tree, thing) for thing in ALL]


fragments = st.sampled_from(
    [*"()[]{}:*?\\\"<>-=' ", "AND", "OR", "NOT", "TO", "thingName", "attributes.a", "x", "5", "\u0130", ">="]
)


@hypothesis.settings(max_examples=300)
@hypothesis.given(st.one_of(st.lists(fragments, max_size=14).map("".join), st.text(max_size=40)))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    """Bad input gets an error of its own; what is accepted can be evaluated on any thing."""
    try:
        query = parse(text)
    except QueryError:
        return
    for thing in ALL:
        query.matches(thing)
