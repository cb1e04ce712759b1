"""The query language of dynamic groups and of SearchIndex: text to a predicate, or the refusal that names the
fault (spec: control plane 1.9). What a term means on a thing's data is in `query_match`.

    or   := and (OR and)*        and  := not ((AND)? not)*
    not  := (NOT | -)? atom      atom := '(' or ')' | term
    term := field:value  field:"phrase"  field:[a TO b]  field:{a TO b}  field>n  field:(or)  value
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from thingjobs_broker.core import query_match
from thingjobs_broker.core.query_match import Indexed, Predicate, Symbol

STARS_MAX: Final = 2
QUESTION_MARKS_MAX: Final = 5
LEADING_WILDCARD_TERMS_MAX: Final = 1
LEADING_WILDCARD_CHARACTERS_MAX: Final = 100
"""Of the whole query, if it holds a term that begins with a wildcard. All of these: control plane 1.9."""

CHARACTERS_MAX: Final = 1000
NESTING_MAX: Final = 20
"""Our own bounds of the work that a query may cause."""

KEYWORDS: Final = ("AND", "OR", "NOT")

_TOKENS: Final = re.compile(
    r"""(?P<space>\s+)
    | (?P<phrase>"(?:[^"\\]|\\.)*")
    | (?P<mark>>=|<=|[:<>()\[\]{}])
    | (?P<word>(?:\\.|[^\s"\\:<>()\[\]{}`@\#%/';,])+)""",
    re.DOTALL | re.VERBOSE,
)


class QueryError(ValueError):
    """A query that is refused; `code` is AWS's error: InvalidQueryException, or InvalidRequestException for a
    blank one (spec: control plane 1.9, "Errors"). Both are HTTP 400.
    """

    def __init__(self, message: str, code: str = "InvalidQueryException") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Query(msgspec.Struct, frozen=True):
    """A parsed query. Keep it with its dynamic group and call `matches(indexed)` as often as needed."""

    text: str
    matches: Callable[[Indexed], bool]
    fields: frozenset[str]
    """The fields it looks at; `*` stands for any. A group need not be evaluated when another one changed."""


def parse(text: str, terms_max: int | None = None) -> Query:
    """Return the query that `text` says; None where it was counted when it was taken.

    Raises:
        QueryError: blank, a syntax error (with its position), an unknown field, or beyond a limit.

    """
    if not text.strip():
        message = "queryString is blank; expected a query such as thingName:pump*"
        raise QueryError(message, "InvalidRequestException")
    if len(text) > CHARACTERS_MAX:
        message = f"A query may have {CHARACTERS_MAX} characters, not {len(text)}"
        raise QueryError(message)
    parser = _Parser(_tokens(text), terms_max)
    matches = parser.parsed()
    if parser.leading and len(text) > LEADING_WILDCARD_CHARACTERS_MAX:
        message = (
            f"A query with a term that begins with a wildcard may have {LEADING_WILDCARD_CHARACTERS_MAX}"
            f" characters, not {len(text)}"
        )
        raise QueryError(message)
    return Query(text, matches, frozenset(parser.fields))


class _Token(NamedTuple):
    kind: str
    """`word`, `phrase`, `end`, or the mark itself."""
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def shown(self) -> str:
        where = f"at position {self.start + 1}"
        return f"the end {where}" if self.kind == "end" else f"{self.text[:40]!r} {where}"


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        found = _TOKENS.match(text, position)
        if found is None:
            raise _unreadable(text, position)
        kind = found.lastgroup or ""
        if kind != "space":
            tokens.append(_Token(found[0] if kind == "mark" else kind, found[0], position))
        position = found.end()
    return [*tokens, _Token("end", "", len(text))]


def _unreadable(text: str, position: int) -> QueryError:
    character = text[position]
    if character == '"':
        return QueryError(f"The phrase that begins at position {position + 1} has no closing quote")
    if character == "\\":
        return QueryError("A backslash at the end of a query escapes nothing")
    return QueryError(f"{character!r} at position {position + 1} must be escaped with a backslash or quoted")


class _Parser:
    """Recursive descent over the tokens. `field` is the one that a group is for, None outside of groups."""

    def __init__(self, tokens: list[_Token], terms_max: int | None) -> None:
        self._tokens = tokens
        self._index = 0
        self._terms = 0
        self._terms_max = terms_max
        self.leading = 0
        self.fields: set[str] = set()

    def parsed(self) -> Predicate:
        matches = self._or(None, 0)
        if self._next.kind != "end":
            raise self._expected("AND, OR or another term")
        return matches

    @property
    def _next(self) -> _Token:
        return self._tokens[self._index]

    def _take(self) -> _Token:
        token = self._next
        self._index += token.kind != "end"
        return token

    def _is_keyword(self, *words: str) -> bool:
        return self._next.kind == "word" and self._next.text in words

    def _expected(self, what: str) -> QueryError:
        return QueryError(f"Expected {what}, not {self._next.shown}")

    def _or(self, field: str | None, depth: int) -> Predicate:
        parts = [self._and(field, depth)]
        while self._is_keyword("OR"):
            self._take()
            parts.append(self._and(field, depth))
        return query_match.any_of(parts)

    def _and(self, field: str | None, depth: int) -> Predicate:
        parts = [self._not(field, depth)]
        while self._next.kind not in ("end", ")") and not self._is_keyword("OR"):
            if self._is_keyword("AND"):
                self._take()
            parts.append(self._not(field, depth))
        return query_match.all_of(parts)

    def _not(self, field: str | None, depth: int) -> Predicate:
        token = self._next
        if self._is_keyword("NOT"):
            self._take()
            return query_match.negated(self._atom(field, depth))
        if token.kind != "word" or not token.text.startswith("-"):
            return self._atom(field, depth)
        if token.text != "-":
            self._tokens[self._index] = _Token("word", token.text[1:], token.start + 1)
        else:
            self._take()
            if self._next.start != token.end:
                raise self._expected("a term directly after -")
        return query_match.negated(self._atom(field, depth))

    def _atom(self, field: str | None, depth: int) -> Predicate:
        if self._next.kind == "(":
            return self._group(field, depth)
        token = self._next
        following = self._tokens[min(self._index + 1, len(self._tokens) - 1)]
        is_field = token.kind == "word" and following.start == token.end and following.kind in _OPERATORS
        if field is None and is_field:
            return self._field_term(depth)
        if self._is_keyword(*KEYWORDS) or (token.kind == "word" and token.text.startswith("-")):
            raise self._expected("a term")
        return self._value(field)

    def _group(self, field: str | None, depth: int) -> Predicate:
        if depth == NESTING_MAX:
            message = f"A query may have {NESTING_MAX} parentheses within each other"
            raise QueryError(message)
        opening = self._take()
        matches = self._or(field, depth + 1)
        if self._take().kind != ")":
            message = f"The parenthesis at position {opening.start + 1} is not closed"
            raise QueryError(message)
        return matches

    def _field_term(self, depth: int) -> Predicate:
        token = self._take()
        field = "".join(character for character, _ in _symbols(token.text))
        if not query_match.is_field(field):
            message = f"Unknown field {field[:80]!r}; expected one of {', '.join(query_match.FIELDS_SHOWN)}"
            raise QueryError(message)
        if self._next.kind != ":":
            return self._value(field)
        colon = self._take()
        if self._next.kind == "(":
            return self._group(field, depth)
        if self._is_keyword(*KEYWORDS) and self._next.start != colon.end:
            raise self._expected("a value")
        return self._value(field)

    def _value(self, field: str | None) -> Predicate:
        """What a field is compared with: a word, a phrase, a range, or a bound after an operator."""
        kind = self._next.kind
        self._count(field)
        if field is not None and kind in ("[", "{"):
            return self._range(field)
        if field is not None and kind in query_match.COMPARISONS:
            return query_match.compared(field, self._take().text, self._bound())
        if kind == "phrase":
            return query_match.equal(field, self._phrase())
        if kind != "word":
            raise self._expected("a value" if field else "a term")
        symbols = _symbols(self._word())
        self._check_wildcards(symbols)
        return query_match.like(field, symbols)

    def _count(self, field: str | None) -> None:
        self.fields.add(field or query_match.ANY)
        self._terms += 1
        if self._terms_max is not None and self._terms > self._terms_max:
            message = f"The query has more than {self._terms_max} terms"
            raise QueryError(message)

    def _range(self, field: str) -> Predicate:
        opening = self._take().kind
        low = self._bound(may_be_open=True)
        if not self._is_keyword("TO"):
            raise self._expected("TO")
        self._take()
        high = self._bound(may_be_open=True)
        if self._next.kind not in ("]", "}"):
            raise self._expected("] or }")
        closing = self._take().kind
        lower = query_match.compared(field, ">=" if opening == "[" else ">", low) if low else None
        upper = query_match.compared(field, "<=" if closing == "]" else "<", high) if high else None
        bounds = [bound for bound in (lower, upper) if bound]
        return query_match.all_of(bounds) if bounds else query_match.like(field, [query_match.STAR])

    def _bound(self, *, may_be_open: bool = False) -> str:
        """Return the text of a bound; an open one, `*`, is empty."""
        if self._next.kind == "phrase":
            return self._phrase()
        if self._next.kind != "word":
            raise self._expected("a bound")
        word = self._word()
        if word == "*" and may_be_open:
            return ""
        return "".join(character for character, _ in _symbols(word))

    def _phrase(self) -> str:
        return "".join(character for character, _ in _symbols(self._take().text[1:-1]))

    def _word(self) -> str:
        """Return the raw text of a word and of the colons and words that follow it without a gap."""
        text = self._take().text
        end = self._tokens[self._index - 1].end
        while self._next.kind in ("word", ":") and self._next.start == end:
            text += self._next.text
            end = self._take().end
        return text

    def _check_wildcards(self, symbols: list[Symbol]) -> None:
        stars, questions = symbols.count(query_match.STAR), symbols.count(query_match.QUESTION)
        if stars > STARS_MAX or questions > QUESTION_MARKS_MAX:
            message = f"A term may have {STARS_MAX} * and {QUESTION_MARKS_MAX} ?, not {stars} and {questions}"
            raise QueryError(message)
        if symbols[0] in (query_match.STAR, query_match.QUESTION) and symbols != [query_match.STAR]:
            self.leading += 1
            if self.leading > LEADING_WILDCARD_TERMS_MAX:
                message = f"A query may have {LEADING_WILDCARD_TERMS_MAX} term that begins with a wildcard"
                raise QueryError(message)


_OPERATORS: Final = (":", *query_match.COMPARISONS)


def _symbols(raw: str) -> list[Symbol]:
    """Resolve escapes: each character with whether it is a wildcard."""
    symbols: list[Symbol] = []
    characters = iter(raw)
    for character in characters:
        if character == "\\":
            symbols.append((next(characters), False))
        else:
            symbols.append((character, character in "*?"))
    return symbols
