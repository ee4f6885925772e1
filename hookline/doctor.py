"""The doctor: is everything there that events need on their way, and how long do they take?

It asks whoever knows: the gateway about itself and its sources, the inbox and Prefect themselves. Whatever
hangs is given up after a while, and named; the rest is looked at all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hookline.errors import HooklineError
from hookline.event import now
from hookline.inbox import Inbox
from hookline.inbox.engine import inbox_url
from hookline.inbox.gauging import gauges
from hookline.inbox.receipts import STEPS, finished_receipts
from hookline.settings import Settings
from hookline.triggers import Trigger

if TYPE_CHECKING:
    from hookline.prefect_api import PrefectApi

#: The worker was tested against this one; on others it starts a process for each run.
TESTED_PREFECT = "3.8.8"
CLOCKS_APART = timedelta(seconds=5)
LITTLE_DISK_BYTES = 1024**3
#: Receipts that percentiles are made of.
RECEIPTS = 1_000
PARTS = (0.5, 0.9, 0.99)
#: A check that takes longer hangs. All of them together end in time for whoever waits at a terminal.
LIMIT_SECONDS = 4.0
ALL_SECONDS = 8.0
#: What a check has at least, however long the others took.
LEAST_SECONDS = 3.0


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


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a kind of runs took.

    Parameters
    ----------
    runs: which: with tasks, or without.
    count: how many they are.
    seconds: from acceptance to each step, by percentile.
    """

    runs: str
    count: int
    seconds: dict[str, dict[float, float]]


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """What a gateway says of itself.

    Parameters
    ----------
    readiness, sources: the answers to `GET /readyz` and `GET /sources`.
    """

    readiness: Mapping[str, Any]
    sources: Mapping[str, Any]


Look = Callable[[], Awaitable[list[Check]]]


class Doctor:
    """Examines one system.

    Parameters
    ----------
    settings: the system's settings.
    gateway: the gateway's address.
    ask_gateway: asks it; may block.
    open_inbox: opens the inbox.
    load_prefect: returns the client's class and the server's address; importing Prefect takes seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        gateway: str,
        ask_gateway: Callable[[], GatewayReport],
        open_inbox: Callable[[], AbstractAsyncContextManager[Inbox]],
        load_prefect: Callable[[], tuple[type[PrefectApi], str]],
    ) -> None:
        self._settings = settings
        self._gateway = gateway
        self._ask_gateway = ask_gateway
        self._open_inbox = open_inbox
        self._load_prefect = load_prefect
        self._inbox: Inbox | None = None
        self._deadline = 0.0
        #: How long the newest finished runs took; known after the examination.
        self.latencies: list[Latency] = []
        #: Something hangs, and with it perhaps a thread that cannot be ended.
        self.hangs = False

    async def examine(self) -> AsyncIterator[Check]:
        """Look at everything, and yield what is found as soon as it is."""
        self._deadline = asyncio.get_running_loop().time() + ALL_SECONDS
        stack = contextlib.AsyncExitStack()
        loading = asyncio.create_task(asyncio.to_thread(self._load_prefect))
        database = inbox_url(self._settings.database_url).render_as_string(hide_password=True)
        async for check in self._found(
            {
                f"gateway at {self._gateway}": self._look_at_gateway,
                "disk": self._look_at_disk,
                f"inbox at {database}": lambda: self._look_at_inbox(stack),
            }
        ):
            yield check
        async for check in self._examine_prefect(stack, loading):
            yield check
        if not self.hangs:
            await stack.aclose()

    async def _examine_prefect(
        self, stack: contextlib.AsyncExitStack, loading: asyncio.Task[tuple[type[PrefectApi], str]]
    ) -> AsyncIterator[Check]:
        try:
            api, address = await loading
            prefect = await stack.enter_async_context(api.open())
        except HooklineError as failed:
            yield Check("prefect", Verdict.FAILED, str(failed))
            return
        answers = True
        async for check in self._found({f"prefect at {address}": lambda: _prefect(prefect)}):
            answers = answers and check.verdict is not Verdict.FAILED
            yield check
        inbox = self._inbox
        if not answers or inbox is None:
            why = "the inbox cannot be read" if answers else "Prefect does not answer"
            yield Check("deployments", Verdict.WARNING, f"not looked at, nor pools and automations: {why}")
            return
        async for check in self._found(
            {
                "deployments": lambda: _deployments(inbox, prefect),
                "automations": lambda: _automations(inbox, prefect),
            }
        ):
            yield check

    async def _found(self, looks: Mapping[str, Look]) -> AsyncIterator[Check]:
        """Look at several things at once, and yield what each gives, in the order in which they are done.

        Parameters
        ----------
        looks: by name; what comes after the name's first word is said where it hangs.
        """
        loop = asyncio.get_running_loop()
        limit = max(LEAST_SECONDS, min(LIMIT_SECONDS, self._deadline - loop.time()))
        until = loop.time() + limit
        tasks = {asyncio.create_task(_safely(name, look)): name for name, look in looks.items()}
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(
                waiting, timeout=max(0.0, until - loop.time()), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                for check in task.result():
                    yield check
        for task in waiting:
            self.hangs = True
            task.cancel()
            name, _, where = tasks[task].partition(" ")
            yield Check(name, Verdict.FAILED, f"it hangs: no answer within {limit:.0f} s {where}".rstrip())

    async def _look_at_gateway(self) -> list[Check]:
        report = await asyncio.to_thread(self._ask_gateway)
        ready = report.readiness
        prefect = ready.get("prefect", "ok")
        if ready.get("status") != "ready":
            found = Check("gateway", Verdict.FAILED, f"{self._gateway}; its inbox: {ready.get('inbox')}")
        elif prefect != "ok":
            found = Check("gateway", Verdict.WARNING, f"{self._gateway}; to it Prefect is {prefect}")
        else:
            found = Check("gateway", Verdict.OK, self._gateway)
        return [found, *_sources(report.sources)]

    async def _look_at_disk(self) -> list[Check]:
        folder = (
            self._settings.data if self._settings.data.exists() else self._settings.data.absolute().parent
        )
        free = (await asyncio.to_thread(shutil.disk_usage, folder)).free
        verdict = Verdict.OK if free > LITTLE_DISK_BYTES else Verdict.WARNING
        return [Check("disk", verdict, f"{free / 1024**3:.1f} GiB free at {folder}")]

    async def _look_at_inbox(self, stack: contextlib.AsyncExitStack) -> list[Check]:
        inbox = await stack.enter_async_context(self._open_inbox())
        # A transaction of the writer, which takes the write lock and changes nothing but the first time.
        await inbox.shared_secret("claims")
        checks = await _dispatches(inbox)
        self.latencies = latencies(await inbox.read(lambda c: finished_receipts(c, limit=RECEIPTS)))
        self._inbox = inbox
        kind = "PostgreSQL" if inbox.is_shared else "SQLite"
        return [Check("inbox", Verdict.OK, f"{kind}, it can be written"), *checks]


def latencies(receipts: Sequence[Mapping[str, float]]) -> list[Latency]:
    """Return percentiles of receipts: those of runs with tasks and those of runs without, each by itself.

    In each every step is one of the same runs, so that no step comes before the one that it follows.
    """
    found = []
    for runs, steps in (
        ("with tasks", STEPS),
        ("without tasks", tuple(s for s in STEPS if s != "first_task")),
    ):
        same = [each for each in receipts if ("first_task" in each) == ("first_task" in steps)]
        if same:
            seconds = {step: _percentiles([each[step] for each in same]) for step in steps}
            found.append(Latency(runs, len(same), seconds))
    return found


def _percentiles(seconds: Sequence[float]) -> dict[float, float]:
    ordered = sorted(seconds)
    # The nearest rank: a value that was really measured.
    return {
        part: ordered[min(len(ordered) - 1, max(0, round(part * len(ordered) + 0.5) - 1))] for part in PARTS
    }


async def _safely(name: str, look: Look) -> list[Check]:
    try:
        return await look()
    except (HooklineError, OSError) as failed:
        return [Check(name.partition(" at ")[0], Verdict.FAILED, str(failed))]


async def _prefect(prefect: PrefectApi) -> list[Check]:
    version = await prefect.server_version()
    found = Check("prefect", Verdict.OK, f"version {version}")
    if version != TESTED_PREFECT:
        detail = (
            f"version {version}; warm runs were tested with {TESTED_PREFECT}, on others each starts a process"
        )
        found = Check("prefect", Verdict.WARNING, detail)
    theirs = await prefect.server_time()
    if theirs is None:
        detail = "the Prefect server does not say what time it has"
        return [found, Check("clock", Verdict.WARNING, detail)]
    apart = abs(now() - theirs.astimezone(UTC))
    verdict = Verdict.OK if apart < CLOCKS_APART else Verdict.WARNING
    return [found, Check("clock", verdict, f"{apart.total_seconds():.0f} s from the Prefect server's")]


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


def _sources(answer: Mapping[str, Any]) -> list[Check]:
    """Return what is wrong with their file, and the sources that lack something, as the gateway has them."""
    sources = answer["sources"]
    kept = "the file is invalid and the previous sources stay in force: "
    fault = [Check("sources", Verdict.FAILED, f"{kept}{answer['error']}")] if answer.get("error") else []
    lacking = [
        Check(
            f"source {each['name']}",
            Verdict.FAILED if each["state"] == "not ready" else Verdict.WARNING,
            ("it is shut: " if each["state"] == "not ready" else "") + "; ".join(each["faults"]),
        )
        for each in sources
        if each["state"] == "not ready" or (each["state"] == "ready" and each["faults"])
    ]
    return [*fault, *lacking] or [Check("sources", Verdict.OK, f"{len(sources)} ready")]


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
