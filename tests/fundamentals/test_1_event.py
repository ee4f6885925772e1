"""Lesson 1: an event is an immutable accepted fact."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from hookline import Event
from hookline.event import new_id, now


def an_event(**changes: object) -> Event:
    moment = now()
    facts = {"id": new_id(), "type": "parcel.sent", "source": "shop", "time": moment, "accepted": moment}
    return Event(**{**facts, **changes})  # type: ignore[arg-type]


def test_an_event_says_what_happened_to_what_and_cannot_be_changed() -> None:
    """Type, subject and data are the sender's; the id is ours, and nobody edits a fact."""
    event = an_event(subject="parcel-7", data={"weight_kg": 2})

    assert event.data["weight_kg"] == 2
    with pytest.raises(FrozenInstanceError):
        event.type = "parcel.lost"  # type: ignore[misc]


def test_ids_are_times_so_order_by_id_is_order_of_arrival() -> None:
    """The tracking id is a UUIDv7: whoever sorts by it sorts by acceptance."""
    ids = [new_id() for _ in range(1000)]

    assert ids == sorted(ids)
    assert len(set(ids)) == 1000


def test_an_event_travels_as_json_and_comes_back_equal() -> None:
    """This is the form in which a flow receives it as its parameter `event`."""
    event = an_event(data=[1, "two", None], source_id="abc")

    assert Event.from_dict(event.to_dict()) == event


def test_a_time_without_an_offset_is_refused() -> None:
    """03:00 where? A naive time would mean something else on every machine."""
    document = {**an_event().to_dict(), "time": "2026-11-24T03:00:00"}

    with pytest.raises(ValueError, match="no offset"):
        Event.from_dict(document)
