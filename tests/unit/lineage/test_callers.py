"""What a run that was called sends is put down to the event that began it all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hookline.errors import PrefectUnavailable
from hookline.event import BodyFormat, Cause, Draft
from hookline.inbox import Inbox
from hookline.lineage.callers import Callers
from tests.unit.lineage.support import World, some_id

STARTED, CALLED, DEEPER, ALONE, STAND_IN, OTHER = (some_id() for _ in range(6))


class Prefect:
    """Knows who called whom: `DEEPER` was called by `CALLED`, which was called by `STARTED`."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0

    async def rows(self, path: str, body: dict[str, Any], *, pages: int) -> list[dict[str, Any]]:
        if self.away:
            raise PrefectUnavailable("away")
        self.asked += 1
        (wanted,) = next(iter(body.values()))["id"]["any_"]
        if path == "/flow_runs/filter":
            parents = {CALLED: STAND_IN, DEEPER: OTHER}
            return [{"id": wanted, "parent_task_run_id": parents.get(wanted)}]
        return [{"id": wanted, "flow_run_id": {STAND_IN: STARTED, OTHER: CALLED}[wanted]}]


def sent_by(run: str | None, event: str | None = None) -> Draft:
    cause = Cause(event=event, flow_run=run) if run or event else None
    return Draft(door="d", type="t", source="s", body=b"", body_format=BodyFormat.NONE, cause=cause)


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Inbox]:
    async with Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox:
        yield inbox


async def started_by_an_event(inbox: Inbox) -> str:
    def write(connection: Any) -> str:
        world = World(connection)
        event = world.event()
        world.dispatch(event, STARTED)
        return event

    return await inbox.write(write)


async def event_of(callers: Callers, draft: Draft) -> str | None:
    (completed,) = await callers.complete([draft])
    return completed.cause.event if completed.cause else None


async def test_the_event_is_found_through_any_number_of_calls(inbox: Inbox) -> None:
    """Also before the recorder has heard of the called run; and a second send asks nobody."""
    event = await started_by_an_event(inbox)
    prefect = Prefect()
    callers = Callers(inbox, prefect)  # type: ignore[arg-type]

    assert await event_of(callers, sent_by(DEEPER)) == event
    asked = prefect.asked
    assert await event_of(callers, sent_by(DEEPER)) == event
    assert prefect.asked == asked


async def test_a_run_that_no_event_is_behind_has_none(inbox: Inbox) -> None:
    """A scheduled run, or one by hand."""
    callers = Callers(inbox, Prefect())  # type: ignore[arg-type]

    assert await event_of(callers, sent_by(ALONE)) is None


async def test_what_knows_its_event_or_was_sent_by_no_run_is_left_as_it_is(inbox: Inbox) -> None:
    """Nearly all events; they cost nothing."""
    prefect = Prefect()
    callers = Callers(inbox, prefect)  # type: ignore[arg-type]
    drafts = [sent_by(None), sent_by(CALLED, event=some_id())]

    assert await callers.complete(drafts) == drafts
    assert prefect.asked == 0


async def test_an_event_is_accepted_with_prefect_away(inbox: Inbox) -> None:
    """Without the event behind it; the next one asks again."""
    event = await started_by_an_event(inbox)
    prefect = Prefect()
    callers = Callers(inbox, prefect)  # type: ignore[arg-type]
    prefect.away = True
    assert await event_of(callers, sent_by(CALLED)) is None
    prefect.away = False
    assert await event_of(callers, sent_by(CALLED)) == event
