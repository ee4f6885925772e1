"""Which triggers an event starts: names, labels, conditions."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.server.events.schemas.automations import EventTrigger, Posture
from prefect.server.events.schemas.events import ReceivedEvent

from hookline.event import Event, new_id
from hookline.triggers import (
    Concurrency,
    Debounce,
    Delay,
    Trigger,
    TriggerSet,
    prefect_resource,
)

MOMENT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def an_event(type: str = "order.placed", **parts: Any) -> Event:
    values: dict[str, Any] = {"source": "shop", "subject": "acme/42", "data": {"total": 5}, **parts}
    return Event(id=new_id(), type=type, time=MOMENT, accepted=MOMENT, **values)


def a_trigger(*expect: str, name: str = "t", **parts: Any) -> Trigger:
    return Trigger(
        flow="record", deployment="on-order", name=name, expect=expect or ("order.placed",), **parts
    )


def verdict(trigger: Trigger, event: Event) -> tuple[bool, str | None] | None:
    """Return what the trigger says to the event: None where `expect` does not match."""
    matches = TriggerSet(1, [trigger]).match(event)
    return (matches[0].matched, matches[0].reason) if matches else None


def test_a_name_matches_itself_and_nothing_else() -> None:
    """A literal name is the whole type."""
    assert verdict(a_trigger("order.placed"), an_event("order.placed")) == (True, None)
    for other in ("order.placed.late", "order.place", "order", "xorder.placed", "Order.placed"):
        assert verdict(a_trigger("order.placed"), an_event(other)) is None


def test_a_trailing_star_stands_for_at_least_one_character() -> None:
    """As it does for Prefect."""
    assert verdict(a_trigger("order.*"), an_event("order.placed")) == (True, None)
    assert verdict(a_trigger("order.*"), an_event("order.placed.late")) == (True, None)
    assert verdict(a_trigger("order.*"), an_event("order.")) is None
    assert verdict(a_trigger("order.*"), an_event("orders")) is None


def test_each_trigger_answers_once_and_in_the_order_of_the_set() -> None:
    """Several names of one trigger that match count once."""
    wide = a_trigger("order.*", "order.placed", "o*", name="wide")
    narrow = a_trigger("order.placed", name="narrow")
    other = a_trigger("invoice.*", name="other")
    for order in ([wide, narrow, other], [other, narrow, wide]):
        matches = TriggerSet(1, order).match(an_event("order.placed"))
        assert [match.trigger for match in matches] == [t for t in order if t is not other]


def test_a_disabled_trigger_is_not_there() -> None:
    """It neither starts nor filters anything."""
    assert verdict(a_trigger(enabled=False), an_event()) is None


TYPES = st.text(alphabet="ab.", min_size=1, max_size=5)
PATTERNS = TYPES | TYPES.map(lambda prefix: prefix + "*")


@settings(deadline=None)
@given(
    expects=st.lists(st.lists(PATTERNS, min_size=1, max_size=3), max_size=6),
    types=st.lists(TYPES, min_size=1, max_size=8),
)
def test_the_index_finds_what_prefect_would_find(expects: list[list[str]], types: list[str]) -> None:
    """Looking up literals and prefixes gives what asking Prefect's own triggers, name by name, gives."""
    triggers = [a_trigger(*expect, name=str(number)) for number, expect in enumerate(expects)]
    found = TriggerSet(1, triggers)
    for type in types:
        event = an_event(type)
        assert [match.trigger for match in found.match(event)] == [
            trigger
            for trigger in triggers
            if any(stock_covers(a_trigger(pattern), event) for pattern in trigger.expect)
        ]


NAMES = ["prefect.resource.id", "hookline.source", "hookline.subject", "hookline.type", "absent"]
LABEL_PATTERNS = [
    "*", "shop", "!shop", "acme/*", "!acme/*", "hookline.source.*", "a?me/42", "[a-c]cme/*", "order.*",
    "!", "",
]  # fmt: skip
LABELS = st.dictionaries(
    st.sampled_from(NAMES),
    st.sampled_from(LABEL_PATTERNS) | st.lists(st.sampled_from(LABEL_PATTERNS), max_size=3),
    max_size=3,
)


@settings(deadline=None)
@given(
    match=LABELS, related=st.lists(LABELS, max_size=2), subject=st.sampled_from([None, "acme/42", "other"])
)
def test_labels_are_matched_as_prefect_matches_them(
    match: dict[str, Any], related: list[dict[str, Any]], subject: str | None
) -> None:
    """`match` and `match_related` mean what they mean in an automation on an event of that shape."""
    trigger = a_trigger(match=match, match_related=tuple(related))
    event = an_event(subject=subject)
    said = verdict(trigger, event)
    assert said is not None
    assert said[0] == stock_covers(trigger, event)
    assert (said[1] is None) == said[0]


@pytest.mark.parametrize(
    ("patterns", "fits"),
    [
        ("acme/42", True),
        ("acme/*", True),
        ("a?me/4[0-9]", True),
        ("Acme/*", False),
        ("acme", False),
        ("!acme/*", False),
        ("!other/*", True),
        (["other/*", "acme/*"], True),
        (["other/*", "!acme/*"], False),
        ([], False),
    ],
)
def test_a_label_fits_one_of_its_patterns(patterns: str | list[str], fits: bool) -> None:
    """Wildcards, negation, and alternatives in a list."""
    event = an_event(subject="acme/42")
    trigger = a_trigger(match={"hookline.subject": patterns})
    said = verdict(trigger, event)
    assert said is not None
    assert said[0] == fits == stock_covers(trigger, event)


def test_every_label_must_fit_and_an_absent_one_fits_nothing() -> None:
    """Not even a negation."""
    assert verdict(a_trigger(match={"hookline.source": "shop", "hookline.type": "x"}), an_event()) == (
        False,
        "match: label hookline.type does not fit",
    )
    for pattern in ("*", "!x"):
        said = verdict(a_trigger(match={"hookline.subject": pattern}), an_event(subject=None))
        assert said == (False, "match: label hookline.subject does not fit")


def stock_covers(trigger: Trigger, event: Event) -> bool:
    """Return what Prefect's own trigger says to the same event, by both of the checks that it makes."""
    stock = EventTrigger(
        expect=set(trigger.expect),
        match=trigger.match or {},
        match_related=list(trigger.match_related),
        posture=Posture.Reactive,
    )
    seen = ReceivedEvent(
        occurred=event.accepted, event=event.type, resource=prefect_resource(event), payload={}, id=event.id
    )
    return stock.covers(seen) and stock.expects(event.type)


def test_the_shape_for_prefect_names_source_subject_and_type() -> None:
    """The resource is the source, with the subject if there is one."""
    assert prefect_resource(an_event()) == {
        "prefect.resource.id": "hookline.source.shop/acme/42",
        "hookline.source": "shop",
        "hookline.subject": "acme/42",
        "hookline.type": "order.placed",
    }
    assert prefect_resource(an_event(subject=None)) == {
        "prefect.resource.id": "hookline.source.shop",
        "hookline.source": "shop",
        "hookline.type": "order.placed",
    }


@pytest.mark.parametrize(
    ("where", "data", "said"),
    [
        ('data.ref == "main"', {"ref": "main"}, (True, None)),
        ('data.ref == "main"', {"ref": "other"}, (False, "where is false")),
        ('data.ref == "main"', {}, (False, "where: the event has no 'ref'")),
        ("data.pusher.name == 'x'", {}, (False, "where: the event has no 'pusher'")),
        ("has(data.ref) && data.ref == 'main'", {}, (False, "where is false")),
        ("data.items[3] == 1", {"items": []}, (False, "where: index out of bounds: 3")),
        ("data.n / data.zero > 1", {"n": 1, "zero": 0}, (False, "where: division by zero in CEL expression")),
        ("data.n", {"n": 1}, (False, "where gives int, not true or false")),
        (
            "data.name.startsWith('x')",
            {"name": None},
            (False, "where: startsWith() takes no value of that type"),
        ),
        ("data.total > 10", {"total": 10.5}, (True, None)),
        ("subject.startsWith('acme/') && source == 'shop' && type == 'order.placed'", None, (True, None)),
        ("time == accepted && time > timestamp('2026-01-01T00:00:00Z')", None, (True, None)),
        ("event.data.total == data.total && event.id == id", {"total": 1}, (True, None)),
        ("source_id == null", None, (True, None)),
        ("data == null", None, (True, None)),
        ("data.labels.exists(label, label.name == 'urgent')", {"labels": [{"name": "urgent"}]}, (True, None)),
    ],
)
def test_a_condition_decides_and_says_why(where: str, data: Any, said: tuple[bool, str | None]) -> None:
    """A false condition filters; one that cannot be evaluated filters too, and says what was missing."""
    assert verdict(a_trigger(where=where), an_event(data=data)) == said


def test_a_condition_that_fails_leaves_other_triggers_alone() -> None:
    """Triggers do not see each other."""
    triggers = [a_trigger(where="data.nope == 1", name="a"), a_trigger(name="b")]
    assert [match.matched for match in TriggerSet(1, triggers).match(an_event())] == [False, True]


def test_a_label_that_does_not_fit_is_named() -> None:
    """The reason is for somebody who wonders why nothing ran."""
    said = verdict(a_trigger(match={"hookline.subject": ["other/*"]}), an_event())
    assert said == (False, "match: label hookline.subject does not fit")


def test_a_miss_costs_about_a_microsecond() -> None:
    """Thousands of events a second pass by triggers that do not want them."""
    triggers = [a_trigger(f"type{number}.*", f"name{number}", name=str(number)) for number in range(200)]
    found = TriggerSet(1, triggers)
    event = an_event("stripe.invoice.paid")
    rounds = 2000
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(rounds):
            found.match(event)
        best = min(best, (time.perf_counter() - start) / rounds)
    # Ten times what it takes on a quiet machine, and a hundredth of what trying each trigger would.
    assert best < 10e-6


def test_a_trigger_is_found_by_its_id() -> None:
    """`flow/deployment/name` names one trigger of the set."""
    trigger = a_trigger()
    found = TriggerSet(7, [trigger])
    assert found.get("record/on-order/t") is trigger
    assert found.get("record/on-order/other") is None
    assert (found.version, len(found), list(found)) == (7, 1, [trigger])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DURATIONS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30))
KEYS = st.none() | st.just("data.id")
TRIGGERS = st.builds(
    Trigger,
    flow=st.text(min_size=1, max_size=5),
    deployment=st.text(min_size=1, max_size=5),
    name=st.text(min_size=1, max_size=5),
    expect=st.lists(PATTERNS, min_size=1, max_size=3).map(tuple),
    where=st.none() | st.just("data.total > 1"),
    enabled=st.booleans(),
    match=st.none()
    | st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.lists(st.text(max_size=5))),
    match_related=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5))).map(tuple),
    for_each=st.lists(st.text(max_size=5)).map(tuple),
    parameters=st.none() | st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    passes_event=st.booleans(),
    job_variables=st.none() | st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    schedule_after=DURATIONS,
    concurrency=st.none() | st.builds(Concurrency, limit=st.integers(1, 9), key=KEYS),
    debounce=st.none() | st.builds(Debounce, quiet=DURATIONS, max_wait=st.none() | DURATIONS, key=KEYS),
    delay=st.none() | st.builds(Delay, duration=DURATIONS) | st.builds(Delay, until=st.just("data.due")),
)


@settings(deadline=None)
@given(TRIGGERS)
def test_a_trigger_survives_the_inbox(trigger: Trigger) -> None:
    """Its JSON form holds all of it."""
    document = orjson.loads(orjson.dumps(trigger.to_dict()))
    assert Trigger.from_dict(document) == trigger
    assert Trigger.from_dict(document).to_dict() == document


@pytest.mark.parametrize(
    "change",
    [
        {"throttle": {"limit": 1}},
        {"concurrency": {"limit": 1, "burst": 2}},
        {"flow": None},
        {"delay": {"duration": "soon"}},
    ],
)
def test_a_form_that_this_version_does_not_know_is_refused(change: dict[str, Any]) -> None:
    """An unknown key may hold something back: ignoring it could start what should wait."""
    document = {**a_trigger().to_dict(), **change}
    if change == {"flow": None}:
        del document["flow"]
    with pytest.raises(ValueError, match=r"unknown|not a trigger|duration"):
        Trigger.from_dict(document)
