"""What an expression may cost for an event of a size, so that no sender can make matching stand still. Pure.

CEL always ends, but it may end late: the library copies what it passes on, so a loop that looks at the event
for each of its elements takes time with the square of its size, and so does the list that `map` or `filter`
builds. The cost is an upper bound, a polynomial of the event's size; each price in it was measured and
rounded up (docs/decisions/0010-bounded-evaluation.md). What cannot be read here has no bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import zip_longest
from typing import Any

#: A polynomial of the event's size: its coefficients, the constant first.
Polynomial = tuple[float, ...]

# Nanoseconds, for each unit of size where nothing else is said.
_CONVERT = 1100.0  # an empty object costs most
_RETURN = 500.0
_PASS_ON = 60.0
_STEP = 150.0
_CALL = 500.0
# A pattern's text is compiled each time it is used; what counts repetitions, or comes from the event, can
# grow up to the library's limit.
_PATTERN_CHARACTER = 40_000.0
_PATTERN = 20_000_000.0

#: What an expression may call. Each takes time with the size of what it is given, and gives no more than it.
FUNCTIONS = frozenset({
    "size", "string", "int", "uint", "double", "bytes", "type", "dyn", "duration", "timestamp", "of",
    "contains", "startsWith", "endsWith", "matches", "getDate", "getFullYear", "getMonth", "getDayOfMonth",
    "getDayOfYear", "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
})  # fmt: skip
_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_BUILDING = frozenset({"map", "filter"})
#: The variables that a sender can make as large as a body may be, with what `event` holds beside the data.
_LARGE: dict[str, Polynomial] = {"data": (0.0, 1.0), "event": (300.0, 1.0)}
#: A long text is worth as many values: passing it on takes as long.
_CHARACTERS_PER_UNIT = 32
#: Attributes that are longer together have no bound.
ATTRIBUTE_CHARACTERS = 2048
#: Any other variable: an attribute, or the name of a type.
_SMALL: Polynomial = (ATTRIBUTE_CHARACTERS / _CHARACTERS_PER_UNIT,)
#: Beyond this the loops of an expression are not followed.
_DEEPEST = 8
_STEPS = 20_000

_TOKEN = re.compile(
    r"""
    (?P<gap>\s+ | //[^\n]*)
    | (?P<text>[bB]?[rR][bB]?(?:\"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*')
    | [bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3} | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*'))
    | (?P<number>0[xX][0-9a-fA-F]+[uU]? | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[uU]?)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<sign>&&|\|\||[=!<>]=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_CHOOSING = frozenset({"?", ":", "&&", "||"})
_COMPARING = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_RECKONING = frozenset({"+", "-", "*", "/", "%"})


class _Unbounded(Exception):
    """No bound is known: it is no CEL that is read here, or its loops are too deep."""


@lru_cache(maxsize=1024)
def cost(source: str) -> Polynomial | None:
    """Return the nanoseconds that a compiled expression takes at most, or None where no bound is known.

    What it takes to convert the variables is apart: see `conversion`.
    """
    try:
        reader = _Reader(source)
        spent, size = _Pricing().price(reader.whole(), {})
        # The event is carried into the evaluation once more, and its result out of it.
        return _add(spent, _times(size, _RETURN), (_STEP, 2 * _PASS_ON))
    except (_Unbounded, RecursionError):
        return None


def at(polynomial: Polynomial, size: int) -> float:
    """Return a polynomial's value for an event of a size."""
    value = 0.0
    for coefficient in reversed(polynomial):
        value = value * size + coefficient
    return value


def conversion(size: int) -> float:
    """Return the nanoseconds that it takes to give an event of a size to the library."""
    return _CONVERT * (size + 20)


def size_of(data: Any, limit: int) -> int:
    """Return how large data is: one for each value in it, and more for long texts.

    It is counted no further than a little beyond `limit`.
    """
    waiting = [data]
    counted = 0
    while waiting and counted <= limit:
        value = waiting.pop()
        kind = type(value)
        counted += 1
        if kind is dict:
            counted += sum(map(len, value)) // _CHARACTERS_PER_UNIT
            waiting.extend(value.values())
        elif kind is list:
            waiting.extend(value)
        elif kind is str:
            counted += len(value) // _CHARACTERS_PER_UNIT
        if len(waiting) > limit:
            return limit + 1
    return counted


# What is read of an expression: `("fixed", size)`, `("name", name)`, `("field", of)`,
# `("choose" | "compare" | "reckon" | "call", parts)`, `("match", pattern's cost, parts)`,
# `("loop", macro, over, variable, bodies)`.
_Node = tuple[Any, ...]


class _Reader:
    """Reads an expression that is known to be CEL, as far as its cost is concerned."""

    def __init__(self, source: str) -> None:
        self._words = [
            (found.lastgroup or "", found[0]) for found in _TOKEN.finditer(source) if found.lastgroup != "gap"
        ]
        self._next = 0

    def whole(self) -> _Node:
        node = self._expression()
        if self._next < len(self._words):
            raise _Unbounded
        return node

    def _expression(self) -> _Node:
        return self._joined("choose", _CHOOSING, lambda: self._joined("compare", _COMPARING, self._sum))

    def _sum(self) -> _Node:
        return self._joined("reckon", _RECKONING, self._unary)

    def _joined(self, kind: str, signs: frozenset[str], read: Any) -> _Node:
        parts = [read()]
        while self._peek() in signs:
            self._take()
            parts.append(read())
        return parts[0] if len(parts) == 1 else (kind, parts)

    def _unary(self) -> _Node:
        while self._peek() in ("!", "-"):
            self._take()
        return self._member()

    def _member(self) -> _Node:
        node = self._primary()
        while True:
            match self._peek():
                case ".":
                    self._take()
                    kind, name = self._take()
                    if kind != "name":
                        raise _Unbounded
                    node = self._call(name, node) if self._peek() == "(" else ("field", node)
                case "[":
                    self._take()
                    node = ("call", [("field", node), self._expression()])
                    self._take("]")
                case _:
                    return node

    def _call(self, name: str, receiver: _Node) -> _Node:
        if name in _MACROS:
            self._take("(")
            kind, variable = self._take()
            if kind != "name":
                raise _Unbounded
            self._take(",")
            return ("loop", name, receiver, variable, self._parts(")"))
        return self._function(name, [receiver])

    def _function(self, name: str, given: list[_Node]) -> _Node:
        if name not in FUNCTIONS and name != "has":
            raise _Unbounded
        self._take("(")
        # `matches` is used as a method and as a function; the pattern comes last.
        kind, text = self._words[self._next] if self._next < len(self._words) else ("", "")
        is_last = self._next + 1 < len(self._words) and self._words[self._next + 1][1] == ")"
        parts = given + self._parts(")")
        if name != "matches":
            return ("call", parts)
        counted = not (kind == "text" and is_last) or "{" in text
        return ("match", _PATTERN if counted else _PATTERN_CHARACTER * len(text), parts)

    def _primary(self) -> _Node:
        kind, word = self._take()
        match kind, word:
            case "text", _:
                return ("fixed", 1 + len(word) / _CHARACTERS_PER_UNIT)
            case "number", _:
                return ("fixed", 1.0)
            case "name", _:
                return self._function(word, []) if self._peek() == "(" else ("name", word)
            case "sign", "(":
                node = self._expression()
                self._take(")")
                return node
            case "sign", "[":
                return ("call", self._parts("]"))
            case "sign", "{":
                return ("call", self._parts("}"))
            case _:
                raise _Unbounded

    def _parts(self, end: str) -> list[_Node]:
        """Read expressions up to a closing bracket; a key's colon joins it with its value."""
        parts: list[_Node] = []
        while self._peek() != end:
            parts.append(self._expression())
            if self._peek() != end:
                self._take(",")
        self._take(end)
        return parts

    def _peek(self) -> str:
        return self._words[self._next][1] if self._next < len(self._words) else ""

    def _take(self, wanted: str | None = None) -> tuple[str, str]:
        if self._next >= len(self._words) or (wanted is not None and self._peek() != wanted):
            raise _Unbounded
        self._next += 1
        return self._words[self._next - 1]


class _Pricing:
    """Puts bounds on what a part of an expression costs, and on how large what it gives is."""

    def __init__(self) -> None:
        self._steps = 0

    def price(
        self, node: _Node, sizes: Mapping[str, Polynomial], depth: int = 0
    ) -> tuple[Polynomial, Polynomial]:
        """Return cost and size of a part; `sizes` are those of the loops' variables around it."""
        self._steps += 1
        if self._steps > _STEPS or depth > _DEEPEST:
            raise _Unbounded
        match node:
            case "fixed", size:
                return (_STEP,), (size,)
            case "name", name:
                size = sizes.get(name) or _LARGE.get(name, _SMALL)
                return _add((_STEP,), _times(size, _PASS_ON)), size
            case "field", of:
                spent, size = self.price(of, sizes, depth)
                return _add(spent, (_STEP,), _times(size, _PASS_ON)), size
            case "loop", macro, over, variable, bodies:
                return self._loop(macro, over, variable, bodies, sizes, depth)
            case "match", pattern, parts:
                spent, _ = self._together(parts, sizes, depth)
                return _add(spent, (pattern,)), (1.0,)
            case "choose", parts:
                spent, size = self._together(parts, sizes, depth, passed_on=1)
                return spent, size
            case "compare", parts:
                spent, _ = self._together(parts, sizes, depth)
                return spent, (1.0,)
            case "reckon", parts:
                # A sum is passed on as often as something is added to it.
                return self._together(parts, sizes, depth, passed_on=len(parts))
            case "call", parts:
                spent, size = self._together(parts, sizes, depth)
                return _add(spent, (_CALL,)), size
            case _:
                raise _Unbounded

    def _together(
        self, parts: list[_Node], sizes: Mapping[str, Polynomial], depth: int, passed_on: int = 1
    ) -> tuple[Polynomial, Polynomial]:
        priced = [self.price(part, sizes, depth) for part in parts]
        size = _add((1.0,), *(size for _, size in priced))
        return _add((_STEP,), _times(size, passed_on * _PASS_ON), *(spent for spent, _ in priced)), size

    def _loop(
        self,
        macro: str,
        over: _Node,
        variable: str,
        bodies: list[_Node],
        sizes: Mapping[str, Polynomial],
        depth: int,
    ) -> tuple[Polynomial, Polynomial]:
        spent, count = self.price(over, sizes, depth)
        # All elements together are no larger than the list. The cost of one grows at least as fast as its
        # size, so a list costs most if one element is as large as it can be and the others are small.
        small, small_size = self._body(bodies, {**sizes, variable: (1.0,)}, depth + 1)
        large, large_size = self._body(bodies, {**sizes, variable: count}, depth + 1)
        looped = _add(_product(count, _add(small, (2 * _STEP,))), large)
        spent = _add(spent, _times(count, _PASS_ON), looped)
        if macro not in _BUILDING:
            return spent, (1.0,)
        size = _add(_product(count, small_size), large_size) if macro == "map" else _add(count, (1.0,))
        # The list so far is passed on for each element: half of it on average.
        return _add(spent, _times(_product(count, size), _PASS_ON / 2)), size

    def _body(
        self, bodies: list[_Node], sizes: Mapping[str, Polynomial], depth: int
    ) -> tuple[Polynomial, Polynomial]:
        """Return the cost of all parts of a loop's body, and the size of the last, which is what it gives."""
        priced = [self.price(body, sizes, depth) for body in bodies]
        return _add(*(spent for spent, _ in priced)), priced[-1][1] if priced else (1.0,)


def _add(*polynomials: Polynomial) -> Polynomial:
    return tuple(sum(coefficients) for coefficients in zip_longest(*polynomials, fillvalue=0.0))


def _times(polynomial: Polynomial, factor: float) -> Polynomial:
    return tuple(coefficient * factor for coefficient in polynomial)


def _product(one: Polynomial, other: Polynomial) -> Polynomial:
    result = [0.0] * (len(one) + len(other) - 1)
    for power, coefficient in _terms(one):
        for more, factor in _terms(other):
            result[power + more] += coefficient * factor
    return tuple(result)


def _terms(polynomial: Polynomial) -> Iterator[tuple[int, float]]:
    return ((power, coefficient) for power, coefficient in enumerate(polynomial) if coefficient)
