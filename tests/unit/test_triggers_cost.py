"""No sender can make matching stand still: what an expression costs is known before it meets an event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.errors import EvaluationError
from hookline.event import Event, new_id
from hookline.triggers.cost import degree, exceeds, largest_size
from hookline.triggers.expressions import Scope, check_expression

MOMENT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
NESTED = "data.a.exists(x, data.b.exists(y, x == y))"


def an_event(data: Any) -> Event:
    return Event(id=new_id(), type="a", source="s", time=MOMENT, accepted=MOMENT, data=data)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("true", 0),
        ("data.ref == 'x' && size(data.l) > 1", 0),
        ("data.l.exists(x, x == 1)", 1),
        ("'x' in data.labels", 1),
        # Looking at one field of the event, or at what belongs to the element, is cheap.
        ("data.l.exists(x, x == data.n)", 1),
        ("data.commits.exists(c, c.modified.exists(f, f.startsWith('docs/')))", 1),
        ("data.l.exists(x, x.name.contains('y'))", 1),
        # So are fixed lists, and loops one after the other.
        ("data.l.exists(x, ['a', 'b'].exists(p, x.startsWith(p)))", 1),
        ("['a', 'b'].exists(p, data.l.exists(x, x.startsWith(p)))", 1),
        ("data.l.filter(x, x > 1).exists(y, y == 1)", 1),
        ("size(data.l.filter(x, x > 1)) > 2 && size(data.m) > 1", 1),
        # Going over the event again for each of its elements is not.
        (NESTED, 2),
        ("data['a'].exists(x, data['b'][0].c.exists(y, x == y))", 2),
        ("(data.a + data.b).exists(x, (data.a + data.b).exists(y, x == y))", 2),
        ("data.a.exists(x, x.l.exists(y, x.l.exists(z, y == z)))", 2),
        ("data.a.exists(x, x in data.b)", 2),
        ("data.a.map(x, x.n).exists(n, n in data.b.map(q, q.n))", 2),
        ("data.a.exists(x, size(data.b) == x)", 2),
        ("data.a.exists(x, data.text.contains(x.name))", 2),
        ("data.a.exists(x, data.b.exists(y, event.data.c.exists(z, z == x)))", 3),
        # What stands in a text or a comment does not count.
        ('data.l.exists(x, x.s == "data.b.exists(y, y)")', 1),
        ("data.l.exists(x, x.s == r'\\') && data.m.exists(y, y == 1)", 1),
        ("data.l.exists(x, // data.m.exists(y, y)\n x == 1)", 1),
    ],
)
def test_the_degree_is_how_steps_grow_with_the_event(source: str, expected: int) -> None:
    """0: not at all; 1: with its size; 2: with the square of it."""
    assert degree(check_expression(source)) == expected


def test_an_event_too_large_for_an_expression_is_told_at_once() -> None:
    """A megabyte would take hours; the reason says why nothing was started."""
    event = an_event({"a": [1] * 6000, "b": [2] * 6000})
    with pytest.raises(EvaluationError, match="more than 5000 elements"):
        Scope(event).evaluate(NESTED)
    assert Scope(event).evaluate("data.a.exists(x, x == 2)") is False


def test_events_of_usual_size_are_no_trouble() -> None:
    """Some hundred elements squared take milliseconds."""
    event = an_event({"a": list(range(300)), "b": list(range(299, 600))})
    assert Scope(event).evaluate(NESTED) is True


def test_long_texts_count_as_many_elements() -> None:
    """Searching them takes as long."""
    assert exceeds({"text": "x" * 320_000}, 5000)
    assert not exceeds({"text": "x" * 3200, "n": 1}, 5000)


def test_most_expressions_have_no_limit() -> None:
    """Only what grows faster than the event does."""
    assert largest_size("data.l.exists(x, x == 1)") is None
    assert largest_size(NESTED) == 5000


WORDS = [
    "data", ".", "x", "[", "]", "(", ")", "'a'", "1", "==", " in ", ".all(x,", ".map(x,", "size(", "{", "}",
    ",", '"', "\\", "//", "r'", "\n",
]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=20).map("".join) | st.text(max_size=30))
def test_any_text_has_a_degree(source: str) -> None:
    """It is asked of expressions only, and still takes nothing amiss."""
    assert 0 <= degree(source) < 20
