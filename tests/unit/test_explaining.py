"""Why a trigger did not match: each condition by itself, with what the event has there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hookline.event import Event
from hookline.explaining import conditions, explain, paths, shown, why_ignored
from hookline.inbox import Dispatch, DispatchStatus
from hookline.triggers import Trigger, TriggerSet

AT = datetime(2026, 11, 24, 3, tzinfo=UTC)


def event(data: object, type: str = "github.push", subject: str | None = "acme/shop") -> Event:
    return Event(id="1", type=type, source="github", time=AT, accepted=AT, data=data, subject=subject)


def verdicts(data: object, *triggers: Trigger) -> dict[str, str]:
    return {
        verdict.trigger.name: verdict.outcome for verdict in explain(event(data), TriggerSet(1, triggers))
    }


def trigger(name: str = "t", expect: str = "github.push", **more: object) -> Trigger:
    return Trigger(flow="f", deployment="d", name=name, expect=(expect,), **more)  # type: ignore[arg-type] # a test's


def test_every_trigger_gets_a_verdict_and_those_that_matter_come_first() -> None:
    """Matched, filtered, then those that expect other types or are disabled."""
    found = verdicts(
        {"ref": "dev"},
        trigger("other", "stripe.*"),
        trigger("off", enabled=False),
        trigger("filtered", where='data.ref == "main"'),
        trigger("matched", "github.*"),
    )
    assert list(found.items()) == [
        ("matched", "matched"),
        ("filtered", "filtered"),
        ("other", "other type"),
        ("off", "disabled"),
    ]


def test_a_condition_that_does_not_hold_comes_with_the_value_it_met() -> None:
    """`where` is taken apart at `&&`; each part says whether it holds and what the event has there."""
    where = 'data.ref == "refs/heads/main" && data.repository.private && size(data.commits) > 0'
    data = {"ref": "refs/heads/dev", "repository": {"private": True}}
    [verdict] = explain(event(data), TriggerSet(1, [trigger(where=where)]))
    told = [
        (clause.source, clause.holds, [(finding.path, finding.value) for finding in clause.findings])
        for clause in verdict.clauses
    ]
    assert told == [
        ('data.ref == "refs/heads/main"', False, [("data.ref", '"refs/heads/dev"')]),
        ("data.repository.private", True, [("data.repository.private", "true")]),
        ("size(data.commits) > 0", None, [("data.commits", "not in the event")]),
    ]
    assert verdict.clauses[2].fault == "the event has no 'commits'"


def test_labels_of_match_are_conditions_too() -> None:
    """`match` is told like `where`: what it wants, and what the event's resource has."""
    wanted = trigger(match={"hookline.subject": ["acme/docs", "acme/web*"], "hookline.source": "github"})
    [verdict] = explain(event({}), TriggerSet(1, [wanted]))
    assert verdict.outcome == "filtered"
    assert [(clause.source, clause.holds, clause.findings[0].value) for clause in verdict.clauses] == [
        ("match hookline.subject: acme/docs, acme/web*", False, '"acme/shop"'),
        ("match hookline.source: github", True, '"github"'),
    ]


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("a && b", ["a", "b"]),
        ("a && b || c", ["a && b || c"]),
        ("a && (b || c)", ["a", "(b || c)"]),
        ("a ? b : c && d", ["a ? b : c && d"]),
        ('x == "a && b" && y', ['x == "a && b"', "y"]),
        ("x == 'it\\'s && so' && y", ["x == 'it\\'s && so'", "y"]),
        ('x == r"\\" && y', ['x == r"\\"', "y"]),
        ("data.l.exists(i, i.a && i.b) && z", ["data.l.exists(i, i.a && i.b)", "z"]),
        ('x == """a" && b""" && y', ['x == """a" && b"""', "y"]),
    ],
)
def test_a_condition_is_parted_only_where_each_part_means_the_same_alone(
    source: str, parts: list[str]
) -> None:
    """Texts, brackets, `||` and `?:` are left whole."""
    assert conditions(source) == parts


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('data.ref == "data.other"', ["data.ref"]),
        ("data.a.b.startsWith(subject)", ["data.a.b", "subject"]),
        ('data.a["x.y"][0].z > 1', ['data.a["x.y"][0].z']),
        ("has(data.a) && size(data.l) > 0", ["data.a", "data.l"]),
        ("mydata.x == i.data", []),
        ("event.data.ref == type", ["event.data.ref", "type"]),
        ("type(data.x) == int", ["data.x"]),
    ],
)
def test_places_of_the_event_are_found_in_an_expression(source: str, found: list[str]) -> None:
    """Names within texts, of functions and of loop variables are not places of the event."""
    assert paths(source) == found


def test_what_is_shown_of_a_value_is_short() -> None:
    """Objects and long lists are counted, long texts cut."""
    assert shown({"a": 1, "b": 2}) == "an object of 2 fields"
    assert shown(list(range(100))) == "a list of 100"
    assert shown([1, "a", None]) == '[1,"a",null]'
    assert len(shown("x" * 1000)) < 130
    assert shown(AT) == '"2026-11-24T03:00:00+00:00"'


def test_an_expression_that_cannot_be_told_stops_nothing() -> None:
    """A value of the wrong type is said to be that."""
    [verdict] = explain(event({"n": "five"}), TriggerSet(1, [trigger(where="data.n > 3 && data.n")]))
    assert [clause.holds for clause in verdict.clauses] == [None, None]
    assert verdict.clauses[1].fault == "gives str, not true or false"


# In one sentence --------------------------------------------------------------------------------------


def dispatch(trigger_id: str = "f/d/t", reason: str = "where is false", version: int = 1) -> Dispatch:
    return Dispatch(
        id="2", event_id="1", trigger_id=trigger_id, replay=0, trigger_set=version, lane="f/d", place="",
        status=DispatchStatus.FILTERED, created=AT, reason=reason,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("type", "expected", "told"),
    [
        ("order.pad", ["order.paid", "github.*"], "no trigger expects order.pad; did you mean order.paid?"),
        (
            "githb.push",
            ["order.paid", "github.*"],
            "no trigger expects githb.push; did you mean github.push?",
        ),
        ("Order.Paid", ["order.paid"], "no trigger expects Order.Paid; did you mean order.paid?"),
        ("crm.lead", ["order.paid", "github.*"], "no trigger expects crm.lead"),
        ("x" * 1000, ["order.paid", "x*"], f"no trigger expected {'x' * 1000} when it came in; one does now"),
        ("crm.lead", [], "no triggers are deployed; run `hookline deploy`, then replay the event"),
    ],
)
def test_a_type_that_nobody_expects_gets_the_nearest_one(type: str, expected: list[str], told: str) -> None:
    """Of `github.*` the type with the rest of this one; nothing where none is near."""
    triggers = TriggerSet(1, [trigger(f"t{n}", expect) for n, expect in enumerate(expected)])
    assert why_ignored(event(None, type), triggers, []).startswith(told)


def test_a_disabled_trigger_is_named() -> None:
    """The type is right, and nothing near it would help."""
    triggers = TriggerSet(1, [trigger("off", "github.*", enabled=False), trigger("on", "github.pushed")])
    told = "no enabled trigger expects github.push: f/d/off is disabled"
    assert why_ignored(event(None), triggers, []) == told


def test_a_filtered_event_gets_the_condition_and_what_it_met() -> None:
    """The first condition that does not hold; after another deploy, what was written down then."""
    where = 'size(data.ref) > 1 && data.ref == "main"'
    triggers, dev = TriggerSet(1, [trigger(where=where)]), event({"ref": "dev"})
    told = 'f/d/t: where is false: data.ref == "main" does not hold, data.ref is "dev"'
    assert why_ignored(dev, triggers, [dispatch()]) == told
    assert why_ignored(dev, triggers, [dispatch(version=7)]) == "f/d/t: where is false"
    assert why_ignored(dev, TriggerSet(2, []), [dispatch()]) == "f/d/t: where is false"


def test_of_many_triggers_three_are_named() -> None:
    """The rest is counted."""
    many = [dispatch(f"f/d/t{number}") for number in range(5)]
    told = why_ignored(event({}), TriggerSet(2, []), many)
    assert (told.count("where is false"), told.endswith("; and 2 more")) == (3, True)
