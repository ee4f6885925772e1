"""CEL over events: what may be written, and what hostile expressions and data can do."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.errors import EvaluationError, TriggerError
from hookline.event import Event, new_id
from hookline.triggers import Delay, delay_until, evaluate_key, evaluate_time
from hookline.triggers.expressions import MAX_SOURCE_LENGTH, Scope, check_expression

MOMENT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def an_event(data: Any = None, **parts: Any) -> Event:
    return Event(
        id=new_id(), type="order.placed", source="shop", time=MOMENT, accepted=MOMENT, data=data, **parts
    )


@pytest.mark.parametrize(
    "source",
    [
        'data.ref == "refs/heads/main"',
        "data.items.exists(item, item.price > 10 && item.name.startsWith('x'))",
        "data.items.exists_one(item, has(item.id)) || size(data.items.filter(i, i > 1).map(i, i * 2)) > 1",
        "string(data.id) + '/' + event.subject",
        "timestamp(data.due) < time + duration('1h')",
        "type(data) == map && type == 'order.placed'",
        "data.total > 5 ? data.a in ['x'] : !(data['b'] <= 1.5)",
    ],
)
def test_an_expression_over_an_event_is_accepted(source: str) -> None:
    """All of an event's parts, CEL's operators, macros and functions."""
    assert check_expression(source) == source


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("data.ref ==", "is not CEL: 1:12"),
        ("dta.ref == 1", "names 'dta'"),
        ("data.items.exists(item, itm.x)", "names 'itm'"),
        ("data.ref.split('/')[0] == 'x'", "calls 'split'"),
        ("", "not a CEL expression"),
        ("   ", "not a CEL expression"),
        (True, "not a CEL expression"),
        (1, "not a CEL expression"),
        (None, "not a CEL expression"),
        (["a"], "not a CEL expression"),
        ("true" + " || true" * MAX_SOURCE_LENGTH, "at most 4096"),
        ("(" * 2000 + "1" + ")" * 2000, "is not CEL"),
    ],
)
def test_what_cannot_work_is_told_when_deploying(source: object, why: str) -> None:
    """A slip in a condition shows at once, not as events that never match."""
    with pytest.raises(TriggerError) as refused:
        check_expression(source)
    assert why in str(refused.value)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_a_trigger_error(text: str) -> None:
    """Nothing else comes out of checking it, nor an evaluation with anything but an evaluation error."""
    try:
        source = check_expression(text)
    except TriggerError:
        return
    with contextlib.suppress(EvaluationError):
        Scope(an_event({"x": 1})).evaluate(source)


WORDS = [
    "data", ".", "x", "[", "]", "(", ")", "'a'", "1", "1.5", "-", "+", "*", "/", "%", "==", "<", "&&", "||",
    "!", "?", ":", ",", "{", "}", " in ", ".all(", ".map(x,", ".exists(x,", "has(", "size(", "int(", "type",
    "timestamp(", "duration(", "matches(", "9223372036854775807", "null", "event", "b'x'", "1u", ".deep",
]  # fmt: skip
TOKENS = st.lists(st.sampled_from(WORDS), max_size=12).map("".join)


@settings(deadline=None)
@given(TOKENS)
def test_expressions_made_of_cel_end_well(source: str) -> None:
    """Arithmetic beyond 64 bits, deep data, wrong types: a value or an evaluation error, never a crash."""
    deep: Any = 1
    for _ in range(900):
        deep = {"deep": [deep]}
    scope = Scope(an_event({"x": [1, "a", None, 2**70, -(2**63)], "deep": deep}))
    with contextlib.suppress(TriggerError, EvaluationError):
        scope.evaluate(check_expression(source))


@pytest.mark.parametrize(
    ("source", "data", "key"),
    [
        (None, None, ""),
        ("subject", None, "acme/shop"),
        ("data.id", {"id": 17}, "17"),
        ("data.id", {"id": "17"}, "17"),
        ("data.id", {"id": True}, "true"),
        ("data.id", {"id": None}, "null"),
        ("data.id", {"id": 1.5}, "1.5"),
        ("data.id", {"id": {"b": 1, "a": [2]}}, '{"a":[2],"b":1}'),
        ("time", None, "2026-11-24T03:00:00Z"),
        ("source + ':' + type", None, "shop:order.placed"),
    ],
)
def test_a_key_is_text(source: str | None, data: Any, key: str) -> None:
    """Text stays as it is, anything else is its JSON; without an expression all events share one key."""
    assert evaluate_key(source, Scope(an_event(data, subject="acme/shop"))) == key


def test_a_long_key_is_its_digest() -> None:
    """A sender cannot blow up the index, and different keys stay different."""
    keys = {evaluate_key("data", Scope(an_event("x" * length))) for length in (200, 201, 100_000)}
    assert sorted(len(key) for key in keys) == [71, 71, 200]


@pytest.mark.parametrize(
    ("source", "data", "why"), [("data.id", {}, "no 'id'"), ("b'x'", None, "no JSON form")]
)
def test_a_key_that_cannot_be_had_says_why(source: str, data: Any, why: str) -> None:
    """The dispatch is dead then, and somebody has to understand it."""
    with pytest.raises(EvaluationError, match=why):
        evaluate_key(source, Scope(an_event(data)))


@pytest.mark.parametrize(
    ("source", "data"),
    [
        ("time + duration('1h')", None),
        ("timestamp(data.due)", {"due": "2026-11-24T04:00:00Z"}),
        ("data.due", {"due": "2026-11-24T05:00:00+01:00"}),
        ("data.due", {"due": int(datetime(2026, 11, 24, 4, tzinfo=UTC).timestamp())}),
    ],
)
def test_a_time_is_read_from_the_event(source: str, data: Any) -> None:
    """A timestamp, RFC 3339 text, or Unix seconds."""
    assert evaluate_time(source, Scope(an_event(data))) == MOMENT + timedelta(hours=1)


@pytest.mark.parametrize("due", ["tomorrow", "2026-11-24T04:00:00", True, None, [], 1e300, -1e300])
def test_what_is_no_time_says_so(due: Any) -> None:
    """A time without an offset is refused, as it is at the door."""
    with pytest.raises(EvaluationError, match="time"):
        evaluate_time("data.due", Scope(an_event({"due": due})))


def test_a_delay_counts_from_acceptance_or_names_its_time() -> None:
    """Both are the earliest time at which a run may start."""
    event = an_event({"due": "2026-12-24T00:00:00Z"})
    assert delay_until(Delay(duration=timedelta(minutes=5)), Scope(event)) == MOMENT + timedelta(minutes=5)
    assert delay_until(Delay(until="data.due"), Scope(event)) == datetime(2026, 12, 24, tzinfo=UTC)


def test_an_event_is_converted_once_for_all_of_its_triggers() -> None:
    """Evaluating again on the same scope does not look at the event again."""
    event = an_event({"n": 1})
    scope = Scope(event)
    assert scope.evaluate("data.n") == 1
    event.data["n"] = 2
    assert scope.evaluate("data.n") == 1
    assert scope.evaluate("event.data.n") == 2


def test_a_condition_on_the_subject_does_not_convert_the_data() -> None:
    """A large payload costs nothing to triggers that do not look at it."""
    event = an_event(object(), subject="acme/shop")
    assert Scope(event).evaluate("subject.startsWith('acme/') && type == 'order.placed'") is True
    # Proof that it would have been noticed.
    with pytest.raises(EvaluationError):
        Scope(event).evaluate("data == 1")
