"""Lesson 3: a trigger is a named rule that says which events start a deployment."""

from __future__ import annotations

from hookline.triggers import Trigger, TriggerSet
from tests.fundamentals.test_1_event import an_event

PUSH_TO_MAIN = Trigger(
    flow="record-push",
    deployment="on-push",
    name="push-to-main",
    expect=("github.push",),
    where='data.ref == "refs/heads/main"',
)


def test_a_trigger_matches_by_type_and_by_its_condition() -> None:
    """`expect` names types, `where` is a CEL expression over the event."""
    triggers = TriggerSet(1, [PUSH_TO_MAIN])
    [match] = triggers.match(an_event(type="github.push", data={"ref": "refs/heads/main"}))

    assert match.trigger.id == "record-push/on-push/push-to-main"
    assert match.matched


def test_a_trigger_whose_condition_is_false_says_so() -> None:
    """The event was expected but filtered: its tracking document shows the trigger and this reason."""
    triggers = TriggerSet(1, [PUSH_TO_MAIN])
    [match] = triggers.match(an_event(type="github.push", data={"ref": "refs/heads/topic"}))

    assert not match.matched
    assert match.reason == "where is false"


def test_a_condition_that_cannot_be_evaluated_is_not_a_match_and_says_what_is_missing() -> None:
    """A field that is not there must neither start a flow nor vanish without a trace."""
    triggers = TriggerSet(1, [PUSH_TO_MAIN])
    [match] = triggers.match(an_event(type="github.push", data={}))

    assert not match.matched
    assert "ref" in (match.reason or "")


def test_an_event_that_no_trigger_expects_matches_nothing() -> None:
    """It is kept, with the status `ignored`; a later replay may find a trigger for it."""
    assert TriggerSet(1, [PUSH_TO_MAIN]).match(an_event(type="github.issues")) == []
