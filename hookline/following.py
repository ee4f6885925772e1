"""Following runs: what became of the runs that were started, from Prefect's event stream and by asking.

The stream is quick but may drop what it sends, and may be blocked; so the runs that are not finished are
also asked for now and then, more often while the stream is away. Asking alone is enough.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hookline.backoff import Backoff
from hookline.changes import Changes
from hookline.errors import InboxError, PrefectRefused, PrefectUnavailable
from hookline.event import now
from hookline.inbox import Dispatch, Inbox, News, RunSeen
from hookline.inbox.records import GONE, TERMINAL_STATES
from hookline.prefect_api import PAGE, PrefectApi, RunInfo, RunNotice

log = logging.getLogger(__name__)

#: How often unfinished runs are asked for, with the stream and without.
ASK_SECONDS = 5.0
ASK_SECONDS_BLIND = 1.0
#: News of a run that is not known yet is kept for so long: it can arrive before its creation is settled.
EARLY_NEWS_SECONDS = 30.0
EARLY_NEWS_LIMIT = 10_000
#: A finished run is followed for so long: the news of its first task may come after that of its end.
LATE_NEWS_SECONDS = 30.0
#: A run that Prefect did not know a moment ago may have been created since; believe it only after this.
GONE_AFTER = timedelta(seconds=10)


@dataclass(slots=True)
class _Followed:
    """A run that is followed.

    Parameters
    ----------
    until: the time until which late news is taken; None while the run is under way.
    first_task: the start of the earliest of its tasks that was heard of.
    """

    until: float | None = None
    first_task: datetime | None = None


class Follower:
    """Keeps the inbox's picture of started runs up to date.

    Parameters
    ----------
    inbox: where started dispatches are.
    prefect: where their runs are.
    changes: told of every event whose picture changed.
    on_finished: told what changed in the inbox, once it is written: places of runs become free, and
        dispatches that waited for the end of one.
    """

    def __init__(
        self,
        inbox: Inbox,
        prefect: PrefectApi,
        *,
        changes: Changes,
        on_finished: Callable[[News], None],
    ) -> None:
        self._inbox = inbox
        self._prefect = prefect
        self._changes = changes
        self._on_finished = on_finished
        self._followed: dict[str, _Followed] = {}
        self._early: dict[str, tuple[float, list[RunNotice]]] = {}
        self._news: list[RunNotice] = []
        self._something_new = asyncio.Event()
        self._connected = False
        self._ask_now = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Return whether the event stream is open."""
        return self._connected

    def follow(self, flow_run_id: str) -> None:
        """Follow a run that was just started."""
        self._followed[flow_run_id] = _Followed()
        _, early = self._early.pop(flow_run_id, (0.0, []))
        for notice in early:
            self._take(notice)

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen_for_ever())
            tasks.create_task(self._write_for_ever())
            tasks.create_task(self._ask_for_ever())

    # The stream -----------------------------------------------------------------------------------

    async def _listen_for_ever(self) -> None:
        backoff, failures = Backoff(), 0
        while True:
            try:
                async for notice in self._prefect.notices():
                    if not self._connected:
                        # What happened while the stream was away is asked for.
                        self._connected, failures = True, 0
                        self._ask_now.set()
                    self._take(notice)
            except Exception as broken:
                # Anything can break in a connection; the only answer is to make a new one.
                if failures == 0:
                    log.info("Prefect's event stream is away: %s; asking instead", broken)
            self._connected = False
            failures += 1
            await asyncio.sleep(backoff.delay(failures).total_seconds())

    def _take(self, notice: RunNotice) -> None:
        followed = self._followed.get(notice.flow_run_id)
        if followed is None:
            self._take_early(notice)
        elif notice.task_run_id is None:
            self._take_news(notice)
        elif followed.first_task is None or notice.at < followed.first_task:
            # A run may have thousands of tasks, and only the first is of interest.
            followed.first_task = notice.at
            self._take_news(notice)

    def _take_news(self, notice: RunNotice) -> None:
        self._news.append(notice)
        self._something_new.set()

    def _take_early(self, notice: RunNotice) -> None:
        """Keep news of a run of ours that is not known yet; most of what comes is somebody else's."""
        known = notice.flow_run_id in self._early
        if known or (notice.is_ours and len(self._early) < EARLY_NEWS_LIMIT):
            _, notices = self._early.setdefault(notice.flow_run_id, (time.monotonic(), []))
            if notice.task_run_id is None or all(each.task_run_id is None for each in notices):
                notices.append(notice)

    async def _write_for_ever(self) -> None:
        while True:
            await self._something_new.wait()
            self._something_new.clear()
            news, self._news = self._news, []
            try:
                await self._write([_seen(notice) for notice in news])
            except InboxError as failed:
                log.error("news of runs: %s", failed)
                self._news[:0] = news
                self._something_new.set()
                await asyncio.sleep(1)

    async def _write(self, seen: Sequence[RunSeen]) -> None:
        if not seen:
            return
        news = await self._inbox.see_runs(seen)
        until = time.monotonic() + LATE_NEWS_SECONDS
        for run in seen:
            followed = self._followed.get(run.flow_run_id)
            if followed is not None and run.state in TERMINAL_STATES:
                followed.until = followed.until or until
        self._on_finished(news)
        self._changes.announce(news.event_ids)

    # Asking ---------------------------------------------------------------------------------------

    async def _ask_for_ever(self) -> None:
        while True:
            self._ask_now.clear()
            try:
                await self.ask()
            except (PrefectUnavailable, PrefectRefused, InboxError) as failed:
                log.debug("asking for runs: %s", failed)
            self._forget_old()
            try:
                async with asyncio.timeout(ASK_SECONDS if self._connected else ASK_SECONDS_BLIND):
                    await self._ask_now.wait()
            except TimeoutError:
                continue

    async def ask(self) -> None:
        """Ask for all unfinished runs of the inbox, also those that a killed gateway had started.

        Raises
        ------
        PrefectUnavailable, PrefectRefused, InboxError: what was learned before is written.
        """
        after = ""
        while running := await self._inbox.running(limit=PAGE, after=after):
            after = running[-1].id
            for dispatch in running:
                if dispatch.flow_run_id is not None and dispatch.flow_run_id not in self._followed:
                    self.follow(dispatch.flow_run_id)
            await self._write(await self._ask_for(running))

    async def _ask_for(self, running: Sequence[Dispatch]) -> list[RunSeen]:
        by_run = {dispatch.flow_run_id: dispatch for dispatch in running if dispatch.flow_run_id}
        found = {run.id: run for run in await self._found(by_run)}
        seen = []
        for run in found.values():
            first_task = None
            if run.state in TERMINAL_STATES and by_run[run.id].first_task is None:
                first_task = await self._prefect.first_task(run.id)
            seen.append(_asked(run, first_task))
        if len(found) < len(by_run):
            seen += await self._gone({run: each for run, each in by_run.items() if run not in found})
        return seen

    async def _found(self, by_run: dict[str, Dispatch]) -> list[RunInfo]:
        """Return the runs that may have news: those not seen running, and those of the others that ended."""
        under_way = [run for run, dispatch in by_run.items() if dispatch.state == "RUNNING"]
        found = await self._prefect.runs([run for run in by_run if run not in set(under_way)])
        return found + await self._prefect.runs(under_way, finished_only=True)

    async def _gone(self, unseen: dict[str, Dispatch]) -> list[RunSeen]:
        """Return those of some runs that Prefect does not have any more."""
        if await self._prefect.count_runs(ids=list(unseen)) == len(unseen):
            return []
        there = {run.id for run in await self._prefect.runs(list(unseen))}
        moment = now()
        return [
            RunSeen(run, moment, GONE, finished=moment)
            for run, dispatch in unseen.items()
            if run not in there and moment - (dispatch.run_created or dispatch.created) > GONE_AFTER
        ]

    def _forget_old(self) -> None:
        moment = time.monotonic()
        for run_id, followed in list(self._followed.items()):
            if followed.until is not None and followed.until < moment:
                del self._followed[run_id]
        for run_id, (since, _) in list(self._early.items()):
            if since < moment - EARLY_NEWS_SECONDS:
                del self._early[run_id]


def _seen(notice: RunNotice) -> RunSeen:
    if notice.task_run_id is not None:
        # It says when a task started, and of the run only that it is there.
        return RunSeen(notice.flow_run_id, notice.at, first_task=notice.at)
    started = notice.at if notice.state == "RUNNING" else None
    finished = notice.at if notice.state in TERMINAL_STATES else None
    return RunSeen(notice.flow_run_id, notice.at, notice.state, started=started, finished=finished)


def _asked(run: RunInfo, first_task: datetime | None) -> RunSeen:
    return RunSeen(
        run.id,
        run.state_at,
        run.state,
        started=run.started,
        first_task=first_task,
        finished=(run.finished or run.state_at) if run.state in TERMINAL_STATES else None,
        name=run.name,
    )
