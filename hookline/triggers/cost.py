"""What an expression costs as an event grows, so that no sender can make matching stand still. Pure.

CEL always ends, but a macro inside a macro goes over the event once for each element of the event: with a
megabyte of elements that is hours. The degree of an expression says how its steps grow with the event's size;
evaluation refuses an event that is too large for it. Nearly all expressions are of degree 0 or 1, for which
no event is too large.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

#: Steps that one evaluation may take; about as many as take seconds.
MAX_STEPS = 25_000_000

_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
#: The variables that a sender can make as large as a body may be.
_UNBOUNDED = frozenset({"data", "event"})
_TOKEN = re.compile(
    r"""
    //[^\n]*
    | [bB]?[rR][bB]?(?:\"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*')
    | [bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3} | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*')
    | (?P<word>[A-Za-z_]\w* | \S)
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING = {")": "(", "]": "[", "}": "{"}
#: A long text is worth as many elements: searching it takes as long.
_CHARACTERS_PER_ELEMENT = 32


def degree(source: str) -> int:
    """Return the power of the event's size with which the steps of a compiled expression grow."""
    return _Reader(source).degree()


@lru_cache(maxsize=1024)
def largest_size(source: str) -> int | None:
    """Return the size of the largest event that an expression may be evaluated for, or None for any."""
    power = degree(source)
    return None if power < 2 else int(MAX_STEPS ** (1 / power))


def exceeds(data: Any, size: int) -> bool:
    """Return whether data has more than `size` elements, counted no further than that."""
    waiting = [data]
    counted = 0
    while waiting:
        value = waiting.pop()
        match value:
            case dict():
                waiting.extend(value.values())
                counted += len(value)
            case list():
                waiting.extend(value)
                counted += len(value)
            case str():
                counted += len(value) // _CHARACTERS_PER_ELEMENT
            case _:
                pass
        if counted > size:
            return True
    return False


class _Reader:
    """Reads an expression that is known to be CEL, as far as loops are concerned."""

    def __init__(self, source: str) -> None:
        self._words = [found["word"] or '""' for found in _TOKEN.finditer(source) if found[0][:2] != "//"]
        self._partner: dict[int, int] = {}
        opened: list[int] = []
        for index, word in enumerate(self._words):
            if word in _OPENING.values():
                opened.append(index)
            elif word in _OPENING and opened:
                start = opened.pop()
                self._partner[start], self._partner[index] = index, start

    def degree(self) -> int:
        return self._degree(0, len(self._words), 0, ())

    def _degree(self, start: int, end: int, loops: int, bound: tuple[str, ...]) -> int:
        """Return the degree of a part that is evaluated size ** loops times.

        `bound` are the variables of the loops around it, those over fixed lists left out.
        """
        highest = loops
        index = start
        while index < end:
            word, following = self._word(index), self._word(index + 1)
            if word == "." and following in _MACROS and self._word(index + 2) == "(":
                over = self._before(index)
                variable = (self._word(index + 3),) if self._large_names(over, bound) else ()
                close = self._partner.get(index + 2, end)
                body = self._degree(index + 4, close, loops + self._growth(over, bound), bound + variable)
                highest = max(highest, body)
                index = close
            elif word == "in":
                highest = max(highest, loops + self._growth(self._after(index), bound))
            elif loops and following == "(" and _is_name(word):
                # The library copies what it hands to a function.
                arguments = range(index + 2, self._partner.get(index + 1, end))
                receiver = self._before(index - 1) if self._word(index - 1) == "." else range(0)
                growth = max(self._growth(arguments, bound), self._growth(receiver, bound))
                highest = max(highest, loops + growth)
            index += 1
        return highest

    def _growth(self, part: Sequence[int], bound: tuple[str, ...]) -> int:
        """Return 1 if going over this part takes as long as the event is large, 0 if it is paid for already.

        What belongs to the innermost loop's element is: all elements together are no more than the event.
        """
        return int(bool(self._large_names(part, bound) - set(bound[-1:])))

    def _large_names(self, part: Sequence[int], bound: tuple[str, ...]) -> set[str]:
        names = {self._word(index) for index in part if self._word(index - 1) != "."}
        return names & (_UNBOUNDED | set(bound))

    def _before(self, dot: int) -> range:
        """Return the operand that ends before a dot."""
        index = dot - 1
        while index >= 0:
            if self._words[index] in _OPENING:
                index = self._partner.get(index, index)
                if not _is_name(self._word(index - 1)) and self._word(index - 1) not in _OPENING:
                    break
                index -= 1
            elif self._word(index - 1) == ".":
                index -= 2
            else:
                break
        return range(max(index, 0), dot)

    def _after(self, operator: int) -> range:
        """Return the operand that begins after an operator."""
        index = operator + 1
        if self._word(index) in _OPENING.values():
            index = self._partner.get(index, index)
        while True:
            following = self._word(index + 1)
            if following == ".":
                index += 2
            elif following in ("(", "["):
                index = self._partner.get(index + 1, index + 1)
            else:
                return range(operator + 1, index + 1)

    def _word(self, index: int) -> str:
        return self._words[index] if 0 <= index < len(self._words) else " "


def _is_name(word: str) -> bool:
    return word != "in" and (word[0].isalpha() or word[0] == "_")
