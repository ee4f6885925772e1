"""No sender can make matching stand still: what an expression may cost is known before it meets an event."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hookline.errors import EvaluationError, TriggerError
from hookline.event import Event, new_id
from hookline.triggers import Costly
from hookline.triggers.cost import at, cost, size_of
from hookline.triggers.expressions import HERE_NANOSECONDS, Form, Scope, check_expression
from tests.support.holding import held

MOMENT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
NESTED = "data.a.all(x, !data.a.exists(y, y == x + 1000000))"
FILTERED = "size(data.a.map(x, data.a.filter(y, y != x))) > 0"
#: What the loop may stand still for in any case; the machine that measures may be busy and slow.
TOO_LONG_SECONDS = 0.05


def an_event(data: Any) -> Event:
    return Event(id=new_id(), type="a", source="s", time=MOMENT, accepted=MOMENT, data=data)


@pytest.mark.parametrize(
    ("source", "power"),
    [
        ("true", 0),
        ("data.ref == 'x' && size(data.l) > 1", 1),
        ("data.l.exists(x, x == 1)", 1),
        ("'x' in data.labels", 1),
        ("data.commits.exists(c, c.modified.exists(f, f.startsWith('docs/')))", 1),
        ("data.l.exists(x, ['a', 'b'].exists(p, x.startsWith(p)))", 1),
        ("['a', 'b'].exists(p, data.l.exists(x, x.startsWith(p)))", 1),
        # The library copies what a name stands for, even where one field of it is looked at.
        ("data.l.exists(x, x == data.n)", 2),
        ("data['a'].exists(x, data['b'][0].c.exists(y, x == y))", 2),
        ("data.a.exists(x, x in data.b)", 2),
        ("data.a.exists(x, size(data.b) == x)", 2),
        # It also copies the list that grows, for each element that is added.
        ("data.l.filter(x, x > 1).exists(y, y == 1)", 2),
        ("size(data.l.map(x, x + 1)) > 2", 2),
        (NESTED, 2),
        (FILTERED, 3),
        ("data.a.map(x, data.a).exists(y, y.exists(z, z == 1))", 3),
        # What stands in a text or a comment does not count.
        ('data.l.exists(x, x.s == "data.b.exists(y, y)")', 1),
        ("data.l.exists(x, x.s == r'\\') && data.m.exists(y, y == 1)", 1),
        ("data.l.exists(x, // data.m.exists(y, y)\n x == 1)", 1),
    ],
)
def test_the_cost_grows_with_a_power_of_the_events_size(source: str, power: int) -> None:
    """Not at all, with its size, with the square of it, or worse."""
    bound = cost(check_expression(source))
    assert bound is not None
    assert max((index for index, price in enumerate(bound) if price and index), default=0) == max(power, 1)


@pytest.mark.parametrize("source", ["data.a.optMap(x, x)", "data.?a", "'x", "a b", "[" * 3000, ""])
def test_what_cannot_be_read_has_no_bound(source: str) -> None:
    """It is never evaluated on the loop."""
    assert cost(source) is None


@pytest.mark.parametrize(
    ("source", "data"),
    [
        (NESTED, {"a": list(range(4_990))}),
        (NESTED, {"a": list(range(300))}),
        (FILTERED, {"a": list(range(700))}),
        ("data.a.filter(x, x > 1).size() > 1", {"a": list(range(10_000))}),
        ("data.a.exists(x, x.matches('(?i)\\\\w{1,100}'))", {"a": ["s"] * 300}),
        ("data.a.exists(x, 'x'.matches(data.r))", {"a": [1] * 50, "r": "(((a{100}){100}){10})"}),
        ("size(data.s + data.s + data.s) > 1", {"s": "x" * 4_000_000}),
        ("data.x == 1", {"x": [{} for _ in range(330_000)]}),
        ("[data,data].map(x,[x,x]).map(x,[x,x]).map(x,[x,x]).map(x,[x,x]).size() > 1", {"s": "x" * 100_000}),
        ("event.data.a.exists(x, event.data.a.exists(y, x == -y))", {"a": list(range(1_000))}),
        ("data.exists(k, data.exists(l, k == l + 'x'))", {str(key): 1 for key in range(2_000)}),
    ],
)
def test_what_may_take_long_is_not_evaluated_on_the_loop(source: str, data: Any) -> None:
    """It is refused at once, and asked of the evaluator."""
    scope = Scope(an_event(data))
    check_expression(source)
    with held() as hold, pytest.raises(Costly):
        scope.ask(Form.TRUTH, source)
    assert hold.seconds < TOO_LONG_SECONDS


def test_a_subject_that_is_as_long_as_a_body_is_not_searched_on_the_loop() -> None:
    """A webhook's subject is what its source takes from the body."""
    event = replace(an_event({"a": ["b"] * 50}), subject="a" * 1_000_000)
    with pytest.raises(Costly):
        Scope(event).ask(Form.TRUTH, "data.a.exists(x, subject.contains(x))")
    assert (
        Scope(replace(event, subject="ab")).ask(Form.TRUTH, "data.a.exists(x, subject.contains(x))") is None
    )


PUSH = {
    "ref": "refs/heads/main",
    "repository": {f"url_{number}": "https://api.github.com/repos/acme/shop" for number in range(60)},
    "commits": [
        {"id": "a" * 40, "modified": ["docs/a.md", "b.py"], "author": {"name": "x", "email": "x@y.z"}}
        for _ in range(10)
    ],
    "labels": ["bug", "docs"],
}


@pytest.mark.parametrize(
    "source",
    [
        "data.ref == 'refs/heads/main'",
        "data.ref.matches('^refs/heads/[a-z]+$')",
        "data.commits.exists(c, c.modified.exists(f, f.startsWith('docs/')))",
        "data.commits.all(c, c.author.email.endsWith('@y.z') && c.id != '')",
        "'bug' in data.labels && size(data.commits) >= 1",
        "has(data.repository.url_1) && timestamp('2026-01-01T00:00:00Z') < time",
        "data.labels.map(l, l + '!').size() == 2",
        "data.commits.filter(c, c.modified.exists(m, m == 'b.py')).size() == 10",
    ],
)
def test_usual_conditions_over_usual_events_stay_on_the_loop(source: str) -> None:
    """Nobody pays for what others might send."""
    assert Scope(an_event(PUSH)).ask(Form.TRUTH, source) is None


def test_all_conditions_of_an_event_share_its_time() -> None:
    """A hundred triggers that look at one event do not take a hundred times as long."""
    scope = Scope(an_event({"a": list(range(25))}))
    stayed = 0
    with held() as hold:
        for number in range(100):
            with contextlib.suppress(Costly):
                scope.ask(Form.TRUTH, f"data.a.exists(x, data.a.exists(y, x + y == -1 - {number}))")
                stayed += 1
    assert 0 < stayed < 100
    assert hold.seconds < TOO_LONG_SECONDS


def test_the_size_counts_values_and_long_texts() -> None:
    """Searching a long text takes as long as many values; counting ends where it is too many anyway."""
    assert size_of({"a": [1, {}], "b": "x"}, 100) == 5
    assert size_of({"text": "x" * 320_000}, 100_000) > 10_000
    assert size_of({"k" * 320_000: 1}, 100_000) > 10_000
    assert size_of([[0] * 1_000] * 1_000, 5_000) <= 12_000


PATHS = st.sampled_from(["data", "data.a", "data.b", "data.s", "event.data.a", "data.o", "subject"])
FIXED = st.sampled_from(["1", "'a'", "[1, 2]", "[[1]]", "{'a': 1}", "2.5"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    variable = st.sampled_from(["x", "y", "z"])
    macro = st.sampled_from(["all", "exists", "exists_one", "map", "filter"])
    operator = st.sampled_from(["+", "==", "&&", "||", "in", "<", "!=", "*"])
    return st.one_of(
        st.builds("{0}.{1}({2}, {3})".format, inner, macro, variable, inner),
        st.builds("({0} {1} {2})".format, inner, operator, inner),
        st.builds("({0} ? {1} : {1})".format, inner, inner),
        st.builds("[{0}, {1}]".format, inner, inner),
        st.builds("size({0})".format, inner),
        st.builds("string({0})".format, inner),
        st.builds("{0}.contains({1})".format, inner, inner),
        st.builds("{0}.a".format, inner),
        st.builds("{0}[0]".format, inner),
    )


EXPRESSIONS = st.recursive(PATHS | FIXED | st.sampled_from(["x", "y", "z"]), _grown, max_leaves=12)
SIZES = st.sampled_from([1, 3, 10, 30, 100, 300, 1_000, 5_000])


def _data(size: int) -> dict[str, Any]:
    return {
        "a": list(range(size)),
        "b": [{"a": [number], "b": "x" * 40} for number in range(size // 4)],
        "s": "a" * size * 8,
        "o": {f"k{number}": {} for number in range(size // 4)},
    }


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.filter_too_much])
@given(EXPRESSIONS, SIZES)
def test_nothing_that_stays_on_the_loop_takes_longer_than_its_bound(source: str, size: int) -> None:
    """Whatever an expression is made of; the bound is for any machine, so ours must be well below."""
    try:
        check_expression(source)
    except TriggerError:
        assume(False)
    scope = Scope(an_event(_data(size)))
    with held() as hold, contextlib.suppress(Costly, EvaluationError):
        scope.ask(Form.TRUTH, source)
    assert hold.seconds < TOO_LONG_SECONDS


WORDS = [
    "data", ".", "x", "[", "]", "(", ")", "'a'", "1", "==", " in ", ".all(x,", ".map(x,", "size(", "{", "}",
    ",", '"', "\\", "//", "r'", "\n", "matches(", "?", ":",
]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=20).map("".join) | st.text(max_size=30))
def test_any_text_has_a_bound_or_none(source: str) -> None:
    """It is asked of expressions only, and still takes nothing amiss."""
    bound = cost(source)
    assert bound is None or 0 < at(bound, 100) < float("inf")


def test_the_bound_of_one_event_is_well_below_what_can_be_noticed() -> None:
    """A gateway answers within 50 ms whatever it matches."""
    assert HERE_NANOSECONDS <= 10_000_000
