"""No regular expression of the engine can be made to search for long: anybody writes what it reads."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

import hookline
from tests.support.holding import held

#: What runs on a user's own machine alone, or is no module to be imported.
NOT_OF_THE_GATEWAY = (
    "hookline.cli",
    "hookline.inbox.migrations",
    "hookline.prefect_server",
    "hookline.__main__",
)
PIECES = [
    "a", "1", " ", "  ", "; ", "=", "a=a", '"', '\\"', "\\", "/", ":", ".", "-", "%41", "?", "#", ",", "{",
    "[", "'", "é", "(",
]  # fmt: skip
HEADS = ("", "a/b", '"', "http:")
#: What an attribute may hold.
LENGTH = 1024
#: Where the time doubles with each, it shows before it takes for ever.
REPEATED = (8, 11, 14, 17, 20, LENGTH)
#: Of processor time; a linear search takes a hundredth.
TOO_LONG_SECONDS = 0.05


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    for found in pkgutil.walk_packages(hookline.__path__, "hookline."):
        if found.name.startswith(NOT_OF_THE_GATEWAY) or ".new_project" in found.name:
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                yield f"{found.name}.{name}", value


def slowest(pattern: re.Pattern[Any]) -> tuple[float, str]:
    """Return the longest time that a text of repeated pieces takes, and the text."""
    worst, of = 0.0, ""
    for head, one, other in product(HEADS, PIECES, PIECES):
        for times in REPEATED:
            text = (head + (one + other) * times)[:LENGTH] + "\x7f"
            given = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
            with held() as hold:
                pattern.fullmatch(given)
            if hold.seconds > worst:
                worst, of = hold.seconds, text
            if worst > TOO_LONG_SECONDS:
                return worst, of
    return worst, of


@pytest.mark.parametrize(("name", "pattern"), [pytest.param(*each, id=each[0]) for each in patterns()])
def test_no_text_makes_a_pattern_search_for_long(name: str, pattern: re.Pattern[Any]) -> None:
    """Alternatives that overlap, or a repetition inside another, would let a short text take hours."""
    taken, text = slowest(pattern)
    assert taken < TOO_LONG_SECONDS, f"{name}: {taken:.3f} s for {text[:80]!r}"
