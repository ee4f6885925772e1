"""How long the pages take with 100,000 events in the inbox, and a lineage graph of 500 descendants."""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import httpx
import orjson

from benches._figures import percentile, table
from hookline.changes import Changes
from hookline.dispatch import Dispatcher
from hookline.event import BodyFormat, Cause, Draft, Event, now
from hookline.following import Follower
from hookline.gateway import House, create_app
from hookline.gateway.access import Access
from hookline.gateway.listening import listening
from hookline.gateway.rejecting import RejectionLog
from hookline.inbox import Dispatch, Inbox, Routing, RunSeen
from hookline.planning import plan
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings
from hookline.sources import Registry
from hookline.triggers import Trigger, TriggerSet
from tests.support.servers import free_port

HTML = {"accept": "text/html"}
BATCH = 500
DESCENDANTS = 500
LEASE = timedelta(hours=1)
TRIGGERS = [
    Trigger(
        flow="record", deployment="push", name="main", expect=("github.push",), where='data.ref == "main"'
    ),
    Trigger(flow="notify", deployment="chat", name="any", expect=("github.*",)),
    Trigger(flow="book", deployment="orders", name="paid", expect=("shop.paid",), where="data.total > 0"),
    *(Trigger(flow="f", deployment=f"d{n}", name="t", expect=(f"other.type.{n}",)) for n in range(50)),
]
#: Most events of a busy door are expected by no trigger.
TYPES = (
    [("sensor.read", "sensor")] * 6
    + [("crm.lead", "crm")] * 4
    + [("github.push", "github"), ("shop.paid", "shop")]
)


class _NoServer:
    """Prefect as the pages need it: addresses."""

    ui_url = "http://127.0.0.1:4200"

    def run_url(self, flow_run_id: str) -> str:
        """Return the address of a run's page."""
        return f"{self.ui_url}/runs/flow-run/{flow_run_id}"


@dataclass(frozen=True)
class Marks:
    """Events that the bench looks at: a usual one, one of a megabyte, and one with descendants."""

    usual: str
    large: str
    ancestor: str


def main() -> None:
    """Fill an inbox, ask for every page, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pages-", dir=".") as folder:
        asyncio.run(_run(Path(folder).absolute(), given.events, given.requests))


async def _run(folder: Path, events: int, requests: int) -> None:
    async with open_house(folder) as (house, url):
        start = time.perf_counter()
        marks = await fill(house.inbox, events)
        print(f"{events:,} events and {DESCENDANTS} descendants in {time.perf_counter() - start:.0f} s\n")
        rows = []
        for name, path in addresses(marks).items():
            cold, warm, size = await measure(url + path, requests)
            p95, worst = percentile(warm, 0.95), max(warm)
            rows.append(
                [
                    name,
                    f"{size / 1000:,.0f} KB",
                    *(_ms(t) for t in (cold, statistics.median(warm), p95, worst)),
                ]
            )
        print(table(["page", "size", "first", "median", "p95", "worst"], rows))


def addresses(marks: Marks) -> dict[str, str]:
    """Return what is asked for, by name."""
    return {
        "event log": "/events",
        "event log, by type": "/events?type=shop.paid",
        "event log, by prefix": "/events?type=github.*",
        "event log, by source and status": "/events?source=github&status=dead",
        "event log, nothing found": "/events?source=github&type=shop.paid&subject=none",
        "event log, last hour": "/events?within=1h",
        "event log, in the middle": f"/events?before={marks.usual}",
        "event": f"/events/{marks.usual}",
        "event of 1 MB": f"/events/{marks.large}",
        "dead letters": "/dead",
        "rejections": "/rejections",
        "sources": "/sources",
        "find": f"/find?q={marks.usual}",
        f"lineage, {DESCENDANTS} descendants": f"/lineage/event/{marks.ancestor}",
        f"lineage, {DESCENDANTS} descendants, unfolded": f"/lineage/event/{marks.ancestor}?apart=yes",
    }


async def measure(url: str, requests: int) -> tuple[float, list[float], int]:
    """Return the seconds of the first request and of those after it, and the size of the page in bytes."""
    async with httpx.AsyncClient(headers=HTML, timeout=60) as client:
        times = []
        for _ in range(requests + 1):
            start = time.perf_counter()
            answer = await client.get(url)
            times.append(time.perf_counter() - start)
            assert answer.status_code in (200, 303), answer.text
        return times[0], times[1:], len(answer.content)


@asynccontextmanager
async def open_house(folder: Path) -> AsyncIterator[tuple[House, str]]:
    """Give a gateway that serves pages, with an inbox and without a Prefect server; and its address."""
    (folder / "sources.yaml").write_text("sources: {github: {recipe: github, secrets: ['${SECRET}']}}")
    settings = Settings(_env_file=None, data=folder, port=free_port())  # type: ignore[call-arg] # pydantic's own
    changes, prefect = Changes(), cast(PrefectApi, _NoServer())
    async with Inbox.open(settings.database_url) as inbox:
        dispatcher = Dispatcher(
            inbox,
            prefect,
            gateway_url=settings.gateway_url,
            default_limit=10,
            changes=changes,
            on_started=lambda dispatch, event, run: None,
        )
        house = House(
            settings=settings,
            inbox=inbox,
            prefect=prefect,
            registry=Registry.open(folder / "sources.yaml", {"SECRET": "a secret of the bench"}),
            access=Access.from_keys(()),
            dispatcher=dispatcher,
            follower=Follower(inbox, prefect, changes=changes, on_finished=dispatcher.run_finished),
            changes=changes,
            rejections=RejectionLog(inbox),
            claim_secret=b"0" * 32,
        )
        async with listening(create_app(house), settings.host, settings.port, on_refused=lambda *_: None):
            yield house, settings.gateway_url


async def fill(inbox: Inbox, events: int) -> Marks:
    """Write events with their dispatches and runs, as a gateway would have; return those to look at."""
    version = await inbox.save_trigger_set(TRIGGERS)
    triggers = TriggerSet(version, TRIGGERS)
    chance = random.Random(1)  # noqa: S311 # the same inbox every time
    ids: list[str] = []
    for start in range(0, events, BATCH):
        drafts = [_draft(chance, number) for number in range(start, min(start + BATCH, events))]
        ids += await _write(inbox, triggers, drafts, chance)
    large = _draft(chance, events, padding="x" * 1_000_000)
    [large_id] = await _write(inbox, triggers, [large], chance)
    usual = ids[len(ids) // 2 // len(TYPES) * len(TYPES) + len(TYPES) - 2]
    return Marks(usual, large_id, await _descend(inbox, triggers, chance))


async def _write(
    inbox: Inbox, triggers: TriggerSet, drafts: Sequence[Draft], chance: random.Random
) -> list[str]:
    recorded = await asyncio.gather(*(inbox.record(draft) for draft in drafts))
    pairs = zip(drafts, recorded, strict=True)
    routings = [plan(_event(draft, each.id, accepted), triggers) for draft, (each, accepted) in pairs]
    await _dispatch(inbox, routings, chance)
    return [each.id for each, _ in recorded]


async def _dispatch(inbox: Inbox, routings: Sequence[Routing], chance: random.Random) -> list[str]:
    """Route, start every run and let it end; return the runs' ids."""
    routed = await inbox.route(routings, at=now(), lease=LEASE)
    ready = routed.ready if routed else []
    runs = await asyncio.gather(*(_settle(inbox, dispatch, chance) for dispatch in ready))
    seen = [run for run in runs if run is not None]
    await inbox.see_runs(seen)
    return [run.flow_run_id for run in seen]


async def _settle(inbox: Inbox, dispatch: Dispatch, chance: random.Random) -> RunSeen | None:
    moment = now()
    if chance.random() < 0.01:
        await inbox.settle_dead(dispatch, reason="Prefect answered 404", response="{}", at=moment)
        return None
    run_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    await inbox.settle_started(
        dispatch,
        flow_run_id=run_id,
        flow_run_name=f"run-{run_id[:8]}",
        deployment_id=run_id,
        state="SCHEDULED",
        created=moment,
        at=moment,
    )
    step = timedelta(milliseconds=100)
    state = "FAILED" if chance.random() < 0.05 else "COMPLETED"
    end = moment + 9 * step
    return RunSeen(run_id, end, state, started=moment + step, first_task=moment + 2 * step, finished=end)


async def _descend(inbox: Inbox, triggers: TriggerSet, chance: random.Random) -> str:
    """Write an event whose run sent many events, each of which started a run; return its id."""
    first, accepted = await inbox.record(_paid(None))
    [run_id] = await _started(inbox, triggers, [_event(_paid(None), first.id, accepted)], chance)
    half = DESCENDANTS // 2
    sent = [_paid(Cause(first.id, run_id, None)) for _ in range(half)]
    recorded = await asyncio.gather(*(inbox.record(draft) for draft in sent))
    events = [_event(draft, each.id, at) for draft, (each, at) in zip(sent, recorded, strict=True)]
    await _started(inbox, triggers, events, chance)
    return first.id


async def _started(
    inbox: Inbox, triggers: TriggerSet, events: Sequence[Event], chance: random.Random
) -> list[str]:
    return await _dispatch(inbox, [plan(event, triggers) for event in events], chance)


def _paid(cause: Cause | None) -> Draft:
    return _make("shop.paid", "shop", {"total": 5}, "order/1", None, cause)


def _draft(chance: random.Random, number: int, padding: str = "") -> Draft:
    type_, source = TYPES[number % len(TYPES)]
    data = {
        "ref": "main" if number % 8 else "dev",
        "total": chance.randint(0, 900),
        "padding": padding or "x" * 700,
    }
    return _make(type_, source, data, f"{source}/{number % 1000}", f"id-{number}", None)


def _make(
    type_: str, source: str, data: dict[str, object], subject: str, source_id: str | None, cause: Cause | None
) -> Draft:
    return Draft(
        door=f"webhooks/{source}",
        type=type_,
        source=source,
        source_id=source_id,
        subject=subject,
        data=data,
        body=orjson.dumps(data),
        body_format=BodyFormat.JSON,
        content_type="application/json",
        headers=(("user-agent", "bench"), ("content-type", "application/json")),
        verdict="hmac-sha256, secret 1 of 1",
        remote="127.0.0.1",
        cause=cause,
    )


def _event(draft: Draft, event_id: str, accepted: datetime) -> Event:
    return Event(
        id=event_id,
        type=draft.type,
        source=draft.source,
        subject=draft.subject,
        time=accepted,
        accepted=accepted,
        data=draft.data,
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


if __name__ == "__main__":
    main()
