"""Queries that select pairs: a small grammar of its own, parsed here and never evaluated as Python.

    similarity_overfit >= 0.8 and not (label = clean or caption contains "stock photo")

| condition | meaning |
| --- | --- |
| `NAME` | a column of truth values |
| `NAME = VALUE`, `==`, `!=`, `<`, `<=`, `>`, `>=` | text takes `=`, `==` and `!=`; so do truth values |
| `NAME between A and B` | numbers, both ends included |
| `NAME in (VALUE, ...)` | one of them; `()` selects nothing |
| `NAME contains "text"` | text, ignoring case, taken literally |
| `NAME is missing`, `NAME is not missing` | not a number, or null |
| `NAME inside (X Y, X Y, X Y, ...)` | columns NAME_x and NAME_y lie in a polygon (even-odd rule) |

`not` binds tighter than `and`, `and` tighter than `or`; keywords ignore case. A value is a number, quoted text (either
quote, backslash escapes), a bare word, `true` or `false`. What is missing fulfils no condition but `is missing`:
neither `!=` nor `NAME not in (...)`, `not between`, `not contains`, `not inside`; `not (...)` around a condition turns
its answer over, so there missing pairs are selected.
"""

import math
import numbers
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from ubt.pairs import predicates
from ubt.pairs.predicates import OPERATORS, BadQuery, Column, Columns, Value, refusal

LENGTH, DEPTH, CONDITIONS, VALUES, CORNERS, CONTAINED = 200_000, 50, 1_000, 20_000, 5_000, 1_000
"""A query's limits: characters, nesting, conditions, values of a list, corners of a polygon, characters to look for."""
WORK = 2 * 10**9
"""What applying a query may take, in steps of about a nanosecond."""
KEYWORDS = frozenset({"or", "and", "not", "between", "in", "contains", "is", "inside", "true", "false"})
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_WORD = r"[^\W\d][\w.-]*+"
_TOKEN = re.compile(
    rf"""(?P<blank>\s++)
    |(?P<quoted>"[^"\\]*+(?:\\.[^"\\]*+)*+"|'[^'\\]*+(?:\\.[^'\\]*+)*+')
    |(?P<number>[+-]?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+(?![\w.]))
    |(?P<word>{_WORD})
    |(?P<sign>==|!=|<=|>=|[=<>(),])""",
    re.VERBOSE | re.DOTALL,
)

Test = Callable[[Columns], np.ndarray]


class Token(NamedTuple):
    """A piece of a query: its kind, its text, and where it begins (from 0)."""

    kind: str
    text: str
    at: int

    @property
    def key(self) -> str:
        """A sign, or a keyword in lower case; empty for anything else."""
        return self.text if self.kind == "sign" else self.text.lower() if self.kind == "word" else ""

    def __str__(self) -> str:
        return "the end of the query" if self.kind == "end" else reprlib.repr(self.text)


@dataclass(frozen=True)
class Query:
    """A query that was read: its text, and the names of the columns it uses."""

    text: str
    names: frozenset[str]
    test: Test = field(repr=False, compare=False)
    disjunction: bool = field(default=False, repr=False, compare=False)
    work: tuple[tuple[str, int, int], ...] = field(default=(), repr=False, compare=False)
    """Of each condition: a column that it reads, the steps for a row of it, and those for a byte of its text."""

    def rows(self, columns: Columns) -> np.ndarray:
        """Which rows it selects, bool (n,).

        Args:
            columns: a `PairTable`, or name to values (n,): numpy numbers (NaN where unknown) or truth values, arrow
                text, or pandas series of these.

        Raises:
            BadQuery: a column is unknown, or of another kind than the query takes it for, or the query would take too
                long on so many rows.
        """
        steps = sum(a * len(columns[n]) + b * columns[n].nbytes for n, a, b in self.work if n in columns)
        if steps > WORK:
            raise BadQuery(
                f"query: expected at most {WORK:,} steps of work, got {steps:,} on these pairs; use fewer conditions"
                " with contains, or outlines of fewer corners"
            )
        return self.test(columns)


def parse(text: str, columns: Columns | None = None) -> Query:
    """Read a query.

    Args:
        columns: what it will be applied to; a name that is none of these is then refused where it stands, before what
            follows it is read.

    >>> import pyarrow as pa
    >>> query = parse("score >= 0.5 and not label in (clean, unsure)")
    >>> label = pa.array(["backdoor", "clean", None, None])
    >>> query.rows({"score": np.array([0.9, 0.7, 0.1, np.nan]), "label": label}).tolist()
    [True, False, False, False]
    >>> sorted(query.names)
    ['label', 'score']

    Raises:
        BadQuery: it cannot be read; the message says where, what was expected, and what came.
    """
    if len(text) > LENGTH:
        raise BadQuery(
            f"query: expected at most {LENGTH} characters, got {len(text)}; save the pairs' labels and select by label"
            " instead"
        )
    reader = _Reader(text, columns)
    test, count = reader.disjunction()
    if reader.token.kind != "end":
        raise refusal(reader.token.at, "and, or, or the end of the query", str(reader.token))
    return Query(text.strip(), frozenset(reader.names), test, count > 1, tuple(reader.work))


def _tokens(text: str) -> Iterator[Token]:
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise refusal(e.start, "valid Unicode", f"a lone surrogate, {text[e.start]!a}") from None
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            came = Token("rest", text[at : at + 12], at)
            if text[at] in "\"'":
                raise refusal(at, f"a closing {text[at]}", "the end of the query")
            raise refusal(at, "a name, a number, text in quotes, a comparison or a parenthesis", str(came))
        if match.lastgroup != "blank":
            yield Token(str(match.lastgroup), match.group(), at)
        at = match.end()
    yield Token("end", "", len(text))


class _Reader:
    """Recursive descent, one method a line of the grammar; `token` is the next one."""

    def __init__(self, text: str, columns: Columns | None):
        self.tokens, self.columns, self.depth, self.conditions = _tokens(text), columns, 0, 0
        self.token = next(self.tokens)
        self.names: set[str] = set()
        self.work: list[tuple[str, int, int]] = []

    def take(self) -> Token:
        token = self.token
        self.token = next(self.tokens, token)
        return token

    def accept(self, key: str) -> bool:
        found = self.token.key == key
        if found:
            self.take()
        return found

    def expect(self, key: str, meaning: str = "") -> None:
        if not self.accept(key):
            raise refusal(self.token.at, meaning or key, str(self.token))

    def disjunction(self) -> tuple[Test, int]:
        tests = [self.conjunction()]
        while self.accept("or"):
            tests.append(self.conjunction())
        return _joined(np.logical_or, tests), len(tests)

    def conjunction(self) -> Test:
        tests = [self.negation()]
        while self.accept("and"):
            tests.append(self.negation())
        return _joined(np.logical_and, tests)

    def negation(self) -> Test:
        start = self.token
        if start.key not in ("not", "("):
            return self.condition()
        self.depth += 1
        if self.depth > DEPTH:
            raise refusal(start.at, f"at most {DEPTH} levels of parentheses and not", "one more")
        if self.take().key == "not":
            inner = self.negation()
            test = partial(_inverted, inner)
        else:
            test, _ = self.disjunction()
            self.expect(")", "and, or, or a closing parenthesis")
        self.depth -= 1
        return test

    def condition(self) -> Test:
        self.conditions += 1
        if self.conditions > CONDITIONS:
            raise refusal(self.token.at, f"at most {CONDITIONS} conditions", "one more; list values as NAME in (...)")
        name = self.take()
        if name.kind != "word" or name.key in KEYWORDS:
            raise refusal(name.at, "a condition that begins with a column's name", str(name))
        if self.columns is not None and not {name.text, f"{name.text}_x"} & set(self.columns):
            raise predicates.unknown(name.text, name.at, self.columns)
        names, negated = (name.text,), False
        if self.token.key in OPERATORS:
            condition, arguments = predicates.compared, (self.take().key, self.value())
        elif self.accept("is"):
            condition, arguments = predicates.present if self.accept("not") else predicates.missing, ()
            self.expect("missing")
        else:
            negated = self.accept("not")
            verb = self.token
            if self.accept("between"):
                condition, arguments = predicates.within, self.ends()
            elif self.accept("in"):
                condition, arguments = predicates.among, (self.values(),)
            elif self.accept("contains"):
                condition, arguments = predicates.containing, (self.wanted(),)
            elif self.accept("inside"):
                condition, arguments, names = predicates.inside, (self.polygon(),), (f"{name.text}_x", f"{name.text}_y")
            elif negated:
                raise refusal(verb.at, "between, in, contains or inside", str(verb))
            else:
                condition, arguments = predicates.flagged, ()
        self.names.update(names)
        if condition is predicates.inside:
            self.work.append((names[0], 3 * len(arguments[0]), 0))
        elif condition is predicates.containing:
            self.work.append((names[0], 20, 1))
        return partial(_holds, names, name.at, negated, condition, arguments)

    def ends(self) -> tuple[float, float]:
        at = self.token.at
        low = self.number()
        self.expect("and")
        high = self.number()
        if low > high:
            raise refusal(at, "the lower end first", f"{low} and {high}")
        return low, high

    def values(self) -> list[Value]:
        self.expect("(", "an opening parenthesis")
        values: list[Value] = []
        while not self.accept(")"):
            if values:
                self.expect(",", "a comma or a closing parenthesis")
            if len(values) == VALUES:
                raise refusal(
                    self.token.at,
                    f"at most {VALUES} values in a list",
                    "one more; label the pairs and select by label instead",
                )
            values.append(self.value())
        return values

    def wanted(self) -> str:
        at, wanted = self.token.at, self.value("text in quotes")
        if not isinstance(wanted, str) or len(wanted) > CONTAINED:
            came = f"{len(wanted)} characters" if isinstance(wanted, str) else str(wanted)
            raise refusal(at, f"text of at most {CONTAINED} characters, in quotes", came)
        return wanted

    def polygon(self) -> np.ndarray:
        at = self.token.at
        self.expect("(", "an opening parenthesis")
        corners = [(self.number(), self.number())]
        while not self.accept(")"):
            self.expect(",", "a comma or a closing parenthesis")
            corners.append((self.number(), self.number()))
        if not 3 <= len(corners) <= CORNERS:
            raise refusal(at, f"a polygon of 3 to {CORNERS} points", f"{len(corners)}")
        return np.array(corners, float)

    def number(self) -> float:
        at, value = self.token.at, self.value("a number")
        if isinstance(value, str | bool):
            raise refusal(at, "a number", reprlib.repr(value))
        return value

    def value(self, expected: str = "a number, text in quotes, true or false") -> Value:
        token = self.take()
        if token.kind == "quoted":
            return re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), token.text[1:-1], flags=re.DOTALL)
        if token.key in ("true", "false"):
            return token.key == "true"
        if token.kind == "word" and token.key not in KEYWORDS:
            return token.text
        if token.kind != "number" or not math.isfinite(number := float(token.text)):
            raise refusal(
                token.at, expected, f"{token}" + (", beyond the largest number" if token.kind == "number" else "")
            )
        return int(token.text) if re.fullmatch(r"[+-]?[0-9]{1,20}", token.text) else number


def _joined(join: np.ufunc, tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else partial(_join, join, tests)


def _join(join: np.ufunc, tests: list[Test], columns: Columns) -> np.ndarray:
    chosen = tests[0](columns)
    for test in tests[1:]:
        chosen = join(chosen, test(columns))
    return chosen


def _inverted(test: Test, columns: Columns) -> np.ndarray:
    return ~test(columns)


def _holds(
    names: tuple[str, ...],
    at: int,
    negated: bool,
    condition: Callable[..., np.ndarray],
    arguments: tuple,
    columns: Columns,
) -> np.ndarray:
    asked = [Column.of(columns, name, at) for name in names]
    chosen = condition(*asked, *arguments)
    return np.logical_and.reduce([~chosen, *(c.valid for c in asked)]) if negated else chosen


def between(name: str, low: float, high: float) -> str:
    """The query that a column lies between two numbers, to 6 significant digits; whole numbers as they are.

    >>> between("score", 0.123456789, 2)
    'score between 0.123457 and 2'

    Raises:
        BadQuery: a name that a query cannot hold, or a number that is not finite.
    """
    low, high = sorted((low, high))
    return f"{_name(name)} between {_end(low)} and {_end(high)}"


def among(ids: Iterable[str], name: str = "id") -> str:
    r"""The query that a column is one of some texts.

    >>> among(["a1", 'say "b"'])
    'id in ("a1", "say \\"b\\"")'

    Raises:
        BadQuery: more ids than a query can hold.
    """
    quoted = [_quoted(i) for i in ids]
    text = f"{_name(name)} in ({', '.join(quoted)})"
    if len(quoted) > VALUES or len(text) > LENGTH:
        raise BadQuery(
            f"expected at most {VALUES} ids of {LENGTH} characters in all, got {len(quoted)} of {len(text)}; label the"
            " pairs and select by label"
        )
    return text


def inside(name: str, points: Sequence[tuple[float, float]]) -> str:
    """The query that NAME_x and NAME_y lie in a polygon, to 3 decimals.

    >>> inside("map", [(0, 0), (1, 0), (0.12345, 1)])
    'map inside (0.0 0.0, 1.0 0.0, 0.123 1.0)'

    Raises:
        BadQuery: fewer points than 3, more than a query can hold, or one that is not finite.
    """
    if not 3 <= len(points) <= CORNERS:
        raise BadQuery(f"expected a polygon of 3 to {CORNERS} points, got {len(points)}")
    return (
        f"{_name(name)} inside"
        f" ({', '.join(f'{round(float(_finite(x)), 3)} {round(float(_finite(y)), 3)}' for x, y in points)})"
    )


def both(a: str, b: str) -> str:
    """The query that two queries hold, parenthesised where one is a disjunction; an empty query selects all.

    >>> both("x > 1 or y", "label = clean"), both("", "y")
    ('(x > 1 or y) and label = clean', 'y')

    Raises:
        BadQuery: one of them cannot be read.
    """
    queries = [parse(text) for text in (a, b) if text.strip()]
    if len(queries) < 2:
        return queries[0].text if queries else ""
    return " and ".join(f"({r.text})" if r.disjunction else r.text for r in queries)


def _name(name: str) -> str:
    if not re.fullmatch(_WORD, name) or name.lower() in KEYWORDS:
        raise BadQuery(
            f"expected a column's name of letters, digits, _, . and -, and no keyword of queries; got {name!r}"
        )
    return name


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise BadQuery(f"expected a finite number, got {value}")
    return value


def _end(value: float) -> str:
    return str(int(value)) if isinstance(value, numbers.Integral) else repr(float(f"{_finite(value):.6g}"))


def _quoted(text: str) -> str:
    escaped = re.sub(r'[\\"]', r"\\\g<0>", text)
    for letter, character in ESCAPES.items():
        escaped = escaped.replace(character, f"\\{letter}")
    return f'"{escaped}"'
