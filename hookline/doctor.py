"""The doctor: is everything there that events need on their way, and how long do they take?"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from hookline.errors import HooklineError
from hookline.event import now
from hookline.inbox import Inbox
from hookline.inbox.gauging import gauges
from hookline.inbox.receipts import recent_receipts
from hookline.metrics import receipt_percentiles
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings
from hookline.sources import Sources
from hookline.triggers import Trigger

#: The worker was tested against this one; on others it starts a process for each run.
TESTED_PREFECT = "3.8.8"
CLOCKS_APART = timedelta(seconds=5)
LITTLE_DISK_BYTES = 1024**3
#: Receipts that percentiles are made of.
RECEIPTS = 1_000


class Verdict(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Parameters
    ----------
    detail: what was found, and what to do where it is not well.
    """

    name: str
    verdict: Verdict
    detail: str


async def examine(settings: Settings, inbox: Inbox, prefect: PrefectApi, sources: Sources) -> list[Check]:
    """Look at everything, each for itself: one that fails does not hide the others."""
    checks: list[Check] = []
    for name, look in (
        ("inbox", lambda: _inbox(inbox)),
        ("disk", lambda: _disk(settings)),
        ("prefect", lambda: _prefect(prefect)),
        ("clock", lambda: _clock(prefect)),
        ("deployments", lambda: _deployments(inbox, prefect)),
        ("automations", lambda: _automations(inbox, prefect)),
        ("sources", lambda: _sources(sources)),
        ("dispatches", lambda: _dispatches(inbox)),
    ):
        checks += await _safely(name, look)
    return checks


async def percentiles(inbox: Inbox) -> dict[str, dict[float, float]]:
    """Return percentiles of the newest receipts: seconds from acceptance to each step."""
    return receipt_percentiles(await inbox.read(lambda c: recent_receipts(c, limit=RECEIPTS)))


async def _safely(name: str, look: Callable[[], Awaitable[list[Check]]]) -> list[Check]:
    try:
        return await look()
    except (HooklineError, OSError) as failed:
        return [Check(name, Verdict.FAILED, str(failed))]


async def _inbox(inbox: Inbox) -> list[Check]:
    # A transaction of the writer, which takes the write lock and changes nothing but the first time.
    await inbox.shared_secret("claims")
    kind = "PostgreSQL" if inbox.is_shared else "SQLite"
    return [Check("inbox", Verdict.OK, f"{kind}, it can be written")]


async def _disk(settings: Settings) -> list[Check]:
    folder = settings.data if settings.data.exists() else settings.data.absolute().parent
    free = shutil.disk_usage(folder).free
    verdict = Verdict.OK if free > LITTLE_DISK_BYTES else Verdict.WARNING
    return [Check("disk", verdict, f"{free / 1024**3:.1f} GiB free at {folder}")]


async def _prefect(prefect: PrefectApi) -> list[Check]:
    version = await prefect.server_version()
    if version == TESTED_PREFECT:
        return [Check("prefect", Verdict.OK, f"version {version}")]
    detail = (
        f"version {version}; warm runs were tested with {TESTED_PREFECT}, on others each starts a process"
    )
    return [Check("prefect", Verdict.WARNING, detail)]


async def _clock(prefect: PrefectApi) -> list[Check]:
    theirs = await prefect.server_time()
    if theirs is None:
        return [Check("clock", Verdict.WARNING, "the Prefect server does not say what time it has")]
    apart = abs(now() - theirs.astimezone(UTC))
    verdict = Verdict.OK if apart < CLOCKS_APART else Verdict.WARNING
    return [Check("clock", verdict, f"{apart.total_seconds():.0f} s from the Prefect server's")]


async def _deployments(inbox: Inbox, prefect: PrefectApi) -> list[Check]:
    lanes = sorted({f"{each.flow}/{each.deployment}" for each in await _triggers(inbox)})
    if not lanes:
        return [Check("deployments", Verdict.WARNING, "no triggers are in force; run `hookline deploy`")]
    checks: list[Check] = []
    pools: set[str] = set()
    for lane in lanes:
        found = await _safely(f"deployment {lane}", lambda lane=lane: _deployment(prefect, lane, pools))  # type: ignore[misc]
        checks += found
    for pool in sorted(pools):
        checks += await _safely(f"pool {pool}", lambda pool=pool: _pool(prefect, pool))  # type: ignore[misc]
    return checks


async def _deployment(prefect: PrefectApi, lane: str, pools: set[str]) -> list[Check]:
    deployment = await prefect.deployment(lane)
    if deployment.work_pool is None:
        detail = "it has no work pool; a process that serves it has to run"
        return [Check(f"deployment {lane}", Verdict.WARNING, detail)]
    pools.add(deployment.work_pool)
    return [Check(f"deployment {lane}", Verdict.OK, f"pool {deployment.work_pool}")]


async def _pool(prefect: PrefectApi, name: str) -> list[Check]:
    pool = await prefect.pool(name)
    workers = await prefect.online_workers(name)
    if pool.paused:
        return [Check(f"pool {name}", Verdict.FAILED, "it is paused; resume it in Prefect")]
    if not workers:
        detail = f"type {pool.type}, no worker is online; start one with `hookline worker --pool {name}`"
        if pool.type != "warm":
            detail = f"type {pool.type}, no worker is online; start one with `prefect worker start`"
        return [Check(f"pool {name}", Verdict.FAILED, detail)]
    limit = "no limit" if pool.limit is None else f"limit {pool.limit}"
    return [Check(f"pool {name}", Verdict.OK, f"type {pool.type}, {workers} workers online, {limit}")]


async def _automations(inbox: Inbox, prefect: PrefectApi) -> list[Check]:
    """Find automations that wait for the plain type of an event, whose mirror has another name."""
    kept = {name for trigger in await _triggers(inbox) for name in trigger.expect}
    stale = [
        f"{each.get('name')} expects {name}"
        for each in await prefect.automations()
        for name in _expected(each.get("trigger") or {})
        if name in kept
    ]
    if not stale:
        return [Check("automations", Verdict.OK, "none waits for events that Hookline keeps")]
    detail = (
        f"{'; '.join(stale[:5])}: left by a stock deploy perhaps; Hookline's events are in Prefect's feed"
        " as hookline.<type>, so that these never fire"
    )
    return [Check("automations", Verdict.WARNING, detail)]


def _expected(trigger: Mapping[str, Any]) -> list[str]:
    inner = [name for each in trigger.get("triggers") or () for name in _expected(each)]
    return [str(name) for name in trigger.get("expect") or ()] + inner


async def _sources(sources: Sources) -> list[Check]:
    shut = [
        Check(f"source {each.name}", Verdict.FAILED, f"it is shut: set {' or '.join(each.missing)}")
        for each in sources.values()
        if each.missing and not each.ready
    ]
    return shut or [Check("sources", Verdict.OK, f"{len(sources)} ready")]


async def _dispatches(inbox: Inbox) -> list[Check]:
    waits = await inbox.read(gauges)
    checks = [_waiting("unrouted events", waits.unrouted, waits.oldest_unrouted)]
    checks.append(_waiting("pending dispatches", waits.pending, waits.oldest_pending))
    verdict = Verdict.WARNING if waits.dead else Verdict.OK
    checks.append(
        Check("dead letters", verdict, f"{waits.dead}; see `hookline dead ls`" if waits.dead else "0")
    )
    return checks


def _waiting(name: str, count: int, since: datetime | None) -> Check:
    if since is None:
        return Check(name, Verdict.OK, "0")
    waited = now() - since
    verdict = Verdict.OK if waited < timedelta(minutes=5) else Verdict.WARNING
    return Check(name, verdict, f"{count}, the oldest for {waited.total_seconds():.0f} s")


async def _triggers(inbox: Inbox) -> Sequence[Trigger]:
    _, documents = await inbox.trigger_set()
    return [Trigger.from_dict(document) for document in documents]
