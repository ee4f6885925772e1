"""Lesson 4: the inbox keeps what was accepted, once, through any crash."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from hookline.event import BodyFormat, Draft, now
from hookline.inbox import EventStatus, Inbox, NewDispatch, Routing
from hookline.triggers import Trigger


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Inbox]:
    """An inbox is a database address: a file by default, PostgreSQL at scale."""
    async with Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox:
        yield inbox


def a_draft(body: bytes = b'{"weight_kg": 2}', source_id: str | None = "s-1") -> Draft:
    return Draft(
        door="events/local",
        type="parcel.sent",
        source="shop",
        source_id=source_id,
        body=body,
        body_format=BodyFormat.JSON,
    )


async def test_an_event_is_on_the_disk_before_anybody_is_told(tmp_path: Path) -> None:
    """When `record` returns, another process that opens the database finds the event, byte for byte."""
    address = f"sqlite:///{tmp_path / 'inbox.db'}"
    async with Inbox.open(address) as first:
        recorded, _ = await first.record(a_draft())
        async with Inbox.open(address) as second:
            body = await second.body(recorded.id)

    assert body is not None
    assert body.body == b'{"weight_kg": 2}'


async def test_the_same_delivery_is_accepted_once(inbox: Inbox) -> None:
    """A sender that did not hear our answer sends again; it gets the first one's tracking id."""
    first, _ = await inbox.record(a_draft())
    again, _ = await inbox.record(a_draft())

    assert again.id == first.id
    assert again.duplicate
    assert (await inbox.totals())["received"] == 1


async def test_senders_without_ids_are_not_deduplicated(inbox: Inbox) -> None:
    """Two equal bodies may be two facts; only the sender can know."""
    first, _ = await inbox.record(a_draft(source_id=None))
    second, _ = await inbox.record(a_draft(source_id=None))

    assert first.id != second.id


async def test_routing_says_once_and_for_all_what_becomes_of_an_event(inbox: Inbox) -> None:
    """The event's dispatches commit together with the version of the triggers that it was matched with."""
    version = await inbox.save_trigger_set(
        [Trigger(flow="f", deployment="d", name="t", expect=("parcel.*",))]
    )
    recorded, _ = await inbox.record(a_draft())
    routing = Routing(recorded.id, version, (NewDispatch(trigger_id="f/d/t", lane="f/d"),))

    first = await inbox.route([routing], at=now(), lease=timedelta(seconds=10))
    again = await inbox.route([routing], at=now(), lease=timedelta(seconds=10))

    assert first is not None
    assert again is not None
    assert [dispatch.trigger_id for dispatch in first.ready] == ["f/d/t"]
    assert (again.events, again.dispatches) == (set(), [])
    event = await inbox.event(recorded.id)
    assert event is not None
    assert event.status is EventStatus.PENDING
