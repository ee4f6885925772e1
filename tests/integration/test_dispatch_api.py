"""Replays, dead letters and metrics over HTTP, as users meet them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hookline.event import now
from hookline.inbox import NewDispatch, Routing
from hookline.triggers import Trigger
from tests.support.gateway import KEY, RunningGateway, running_gateway
from tests.support.inboxes import LEASE

TRIGGER = Trigger(flow="f", deployment="d", name="t", expect=("sent",), where="data.size > 5")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, triggers=[TRIGGER]) as gateway:
        yield gateway


async def send(gateway: RunningGateway, size: int) -> str:
    """Send an event, and wait until it is routed."""
    answer = await gateway.http.post("/events", json={"type": "sent", "data": {"size": size}})
    event_id = str(answer.json()["id"])
    with gateway.house.changes.watch(event_id) as watch:
        while (await gateway.stored(event_id)).routed is None:
            assert await watch.wait(10)
    return event_id


async def make_dead(gateway: RunningGateway, event_id: str) -> str:
    """Add a dead letter to an event; return its id."""
    inbox = gateway.house.inbox
    version, _ = await inbox.trigger_set()
    new = NewDispatch(trigger_id=TRIGGER.id, lane="f/d", dead="no")
    await inbox.route([Routing(event_id, version, (new,), replay=True)], at=now(), lease=LEASE)
    [dead] = [each for each in await inbox.dispatches(event_id) if each.status.value == "dead"]
    return dead.id


async def test_an_ignored_event_says_why(gateway: RunningGateway) -> None:
    """Both to `?wait` and later: the condition that does not hold, or the type that was meant."""
    filtered = await gateway.http.get(f"/events/{await send(gateway, 3)}")
    told = "f/d/t: where is false: data.size > 5 does not hold, data.size is 3"
    assert filtered.json()["explanation"] == told
    slip = await gateway.http.post("/events?wait=5", json={"type": "sentt"})
    assert slip.json()["explanation"] == "no trigger expects sentt; did you mean sent?"
    page = await gateway.http.get(f"/events/{slip.json()['id']}", headers={"Accept": "text/html"})
    assert "No trigger expects sentt; did you mean sent?" in page.text
    pending = await gateway.http.get(f"/events/{await send(gateway, 9)}")
    assert pending.json()["explanation"] is None


async def test_one_event_is_replayed(gateway: RunningGateway) -> None:
    """A dry run says what would start; the replay makes a dispatch that the tracking document shows."""
    event_id = await send(gateway, 9)
    dry = await gateway.http.post(f"/events/{event_id}/replay", json={"dry_run": True})
    assert (dry.status_code, dry.json()["would_start"]) == (200, {"f/d/t": 1})
    answer = await gateway.http.post(f"/events/{event_id}/replay")

    assert answer.status_code == 202
    assert answer.headers["location"] == f"/events/{event_id}"
    [made] = answer.json()["dispatches"]
    assert (made["trigger"], made["replay"]) == ("f/d/t", 1)
    document = (await gateway.http.get(f"/events/{event_id}")).json()
    assert [each["replay"] for each in document["dispatches"]] == [0, 1]


async def test_a_search_is_replayed_and_reported(gateway: RunningGateway) -> None:
    """202 with a place to look; in the end every event is accounted for."""
    for size in range(12):
        await send(gateway, size)
    dry = (await gateway.http.post("/replays", json={"type": "sent", "dry_run": True})).json()
    assert (dry["events"], dry["complete"], dry["would_start"], dry["without_match"]) == (
        12, True, {"f/d/t": 6}, 6,
    )  # fmt: skip
    begun = await gateway.http.post("/replays", json={"type": "sent", "since": "2020-01-01T00:00:00Z"})
    assert begun.status_code == 202
    with gateway.house.changes.watch() as watch:
        while (found := (await gateway.http.get(begun.headers["location"])).json())["status"] == "running":
            await watch.wait(0.2)
    assert (found["status"], found["events"], found["dispatches"]) == ("done", 12, 12)
    listed = (await gateway.http.get("/replays")).json()["replays"]
    assert [each["id"] for each in listed] == [found["id"]]
    cancelled = await gateway.http.post(f"/replays/{found['id']}/cancel")
    assert cancelled.json()["status"] == "done"


async def test_dead_letters_are_listed_and_replayed(gateway: RunningGateway) -> None:
    """Page by page, with their reasons; once replayed they are dead no more, and cannot be again."""
    ids = [await make_dead(gateway, await send(gateway, 9)) for _ in range(3)]
    page = (await gateway.http.get("/dead", params={"limit": 2})).json()
    assert [each["id"] for each in page["dead"]] == ids[::-1][:2]
    assert page["dead"][0]["reason"] == "no"
    rest = (await gateway.http.get("/dead", params={"cursor": page["next"]})).json()
    assert [each["id"] for each in rest["dead"]] == ids[:1]

    one = await gateway.http.post(f"/dead/{ids[0]}/replay")
    assert (one.status_code, len(one.json()["dispatches"])) == (202, 1)
    assert (await gateway.http.post(f"/dead/{ids[0]}/replay")).status_code == 409
    others = await gateway.http.post("/dead/replay", json={"trigger": "f/d/t"})
    with gateway.house.changes.watch() as watch:
        while (await gateway.http.get(others.headers["location"])).json()["status"] == "running":
            await watch.wait(0.2)
    assert (await gateway.http.get("/dead")).json()["dead"] == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/replays", {"typo": "sent"}, 400),
        ("/replays", {"type": 7}, 400),
        ("/replays", {"type": "a\x00"}, 400),
        ("/replays", {"since": "2026-11-24T03:00:00"}, 400),
        ("/replays", {"status": "unheard-of"}, 400),
        ("/replays", {"rate": 0}, 400),
        ("/replays", {"dry_run": "yes"}, 400),
        ("/replays", ["sent"], 400),
        ("/dead/replay", {"status": "dead"}, 400),
        ("/events/01975a0e-5f6c-7d1e-9c57-2f4f3b8f0a11/replay", {}, 404),
        ("/dead/01975a0e-5f6c-7d1e-9c57-2f4f3b8f0a11/replay", {}, 404),
        ("/replays/01975a0e-5f6c-7d1e-9c57-2f4f3b8f0a11/cancel", {}, 404),
    ],
)
async def test_a_wish_that_is_not_understood_starts_nothing(
    gateway: RunningGateway, path: str, body: Any, status: int
) -> None:
    """A search that is wider than was meant could start anything."""
    answer = await gateway.http.post(path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await gateway.http.get("/replays")).json()["replays"] == []


async def test_replaying_takes_a_key_that_may(tmp_path: Path) -> None:
    """Who may read may look, and only who may do everything may replay."""
    reads = "a-key-that-may-only-read-things"
    async with running_gateway(tmp_path, keys=[KEY, f"read:{reads}"]) as gateway:
        for key, looked, replayed in ((KEY, 200, 202), (reads, 200, 403), ("x", 401, 401)):
            headers = {"Authorization": f"Bearer {key}"}
            assert (await gateway.http.get("/dead", headers=headers)).status_code == looked
            assert (await gateway.http.post("/replays", headers=headers)).status_code == replayed


async def test_metrics_count_what_happened_and_what_waits(gateway: RunningGateway) -> None:
    """Accepted, duplicates, rejections by reason, dispatches by status, receipts, the mirror."""
    for _ in range(2):
        await gateway.http.post("/events", json={"type": "sent", "id": "a", "data": {"size": 9}})
    event_id = await send(gateway, 9)
    await make_dead(gateway, event_id)
    await gateway.http.post("/events", json={"type": "prefect.no"})
    text = (await gateway.http.get("/metrics")).text

    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines["hookline_events_accepted_total"]) == 2
    assert float(lines["hookline_events_duplicates_total"]) == 1
    assert float(lines['hookline_rejections_total{reason="reserved-type"}']) == 1
    assert float(lines['hookline_dispatches{status="pending"}']) == 2
    assert float(lines['hookline_dispatches{status="dead"}']) == 1
    assert float(lines['hookline_dispatches{status="held"}']) == 0
    assert float(lines['hookline_receipt_seconds_count{step="routed"}']) == 2
    assert float(lines['hookline_dispatch_lag_seconds{for="run"}']) > 0
    assert float(lines['hookline_mirror_events_total{outcome="left_out"}']) == 0
    assert float(lines["hookline_inbox_bytes"]) > 0
