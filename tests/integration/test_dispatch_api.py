"""Replays, dead letters and metrics over HTTP, and the doctor, as users meet them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from hookline.doctor import Verdict, examine, percentiles
from hookline.event import now
from hookline.inbox import Inbox, NewDispatch, Routing, RunSeen
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings
from hookline.sources import load_sources
from hookline.triggers import Trigger
from tests.support.gateway import KEY, RunningGateway, running_gateway
from tests.support.inboxes import LEASE
from tests.support.prefect import PrefectHttp
from tests.support.servers import PrefectServer

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


async def test_the_doctor_says_what_is_not_well(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """A pool without workers, a source without its secret, an automation that never fires."""
    oracle = PrefectHttp(prefect_server.api_url)
    oracle.pool("pool-of-the-doctor")
    deployment = oracle.deployment("examined", "now", "pool-of-the-doctor")
    oracle.post(
        "/automations/",
        {
            "name": "left-behind",
            "trigger": {
                "type": "event", "posture": "Reactive", "expect": ["examined.sent"],
                "threshold": 1, "within": 0,
            },
            "actions": [{"type": "run-deployment", "deployment_id": deployment}],
        },
    )  # fmt: skip
    sources = tmp_path / "sources.yaml"
    sources.write_text("sources:\n  github:\n    recipe: github\n    secrets: [${NOT_SET_ANYWHERE}]\n")
    settings = Settings(_env_file=None, data=tmp_path, sources=sources)  # type: ignore[call-arg]
    trigger = Trigger(flow="examined", deployment="now", name="t", expect=("examined.sent",))
    gone = Trigger(flow="examined", deployment="gone", name="t", expect=("x",))
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        async with Inbox.open(settings.database_url) as inbox, PrefectApi.open() as prefect:
            await inbox.save_trigger_set([trigger, gone])
            checks = await examine(settings, inbox, prefect, load_sources(sources, {}))

    found = {check.name: check for check in checks}
    assert found["inbox"].verdict is Verdict.OK
    assert found["prefect"].verdict is Verdict.OK
    assert found["clock"].verdict is Verdict.OK
    assert found["deployment examined/now"].verdict is Verdict.OK
    assert found["deployment examined/gone"].verdict is Verdict.FAILED
    assert found["pool pool-of-the-doctor"].verdict is Verdict.FAILED
    assert "prefect worker start" in found["pool pool-of-the-doctor"].detail
    assert found["automations"].verdict is Verdict.WARNING
    assert "left-behind" in found["automations"].detail
    assert "NOT_SET_ANYWHERE" in found["source github"].detail


async def test_percentiles_are_of_receipts(gateway: RunningGateway) -> None:
    """From acceptance to each step, of the newest events."""
    event_id = await send(gateway, 9)
    inbox = gateway.house.inbox
    [dispatch] = await inbox.dispatches(event_id)
    moment = now()
    await inbox.settle_started(
        dispatch, flow_run_id="r", flow_run_name="r", deployment_id="d", state="SCHEDULED",
        created=moment, at=moment,
    )  # fmt: skip
    await inbox.see_runs([RunSeen("r", moment, "RUNNING", started=moment, first_task=moment)])
    found = await percentiles(inbox)

    assert set(found) == {"routed", "run_created", "run_started", "first_task"}
    assert all(0 <= seconds < 30 for parts in found.values() for seconds in parts.values())
