"""Following runs: what became of the runs that were started, from Prefect's event stream and by asking.

The stream is quick but may drop what it sends, and may be blocked; so the runs that are not finished are
also asked for now and then, more often while the stream is away. Asking alone is enough.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hookline.backoff import Backoff
from hookline.changes import Changes
from hookline.errors import InboxError, PrefectRefused, PrefectUnavailable
from hookline.event import now
from hookline.inbox import Inbox, RunSeen
from hookline.inbox.records import TERMINAL_STATES
from hookline.prefect_api import PAGE, PrefectApi, RunInfo, RunNotice

log = logging.getLogger(__name__)

#: How often unfinished runs are asked for, with the stream and without.
ASK_SECONDS = 5.0
ASK_SECONDS_BLIND = 1.0
#: News of a run that is not known yet is kept for so long: it can arrive before its creation is settled.
EARLY_NEWS_SECONDS = 30.0
#: A finished run is followed for so long: the news of its first task may come after that of its end.
LATE_NEWS_SECONDS = 30.0
#: A run that Prefect did not know a moment ago may have been created since; believe it only after this.
GONE_AFTER = timedelta(seconds=10)


class Follower:
    """Keeps the inbox's picture of started runs up to date.

    Parameters
    ----------
    inbox: where started dispatches are.
    prefect: where their runs are.
    changes: told of every event whose picture changed.
    on_finished: told the deployment's id of every run that finished, whoever made it.
    """

    def __init__(
        self,
        inbox: Inbox,
        prefect: PrefectApi,
        *,
        changes: Changes,
        on_finished: Callable[[str | None], None],
    ) -> None:
        self._inbox = inbox
        self._prefect = prefect
        self._changes = changes
        self._on_finished = on_finished
        # Run id -> None while it is under way, else the time until which late news is taken.
        self._known: dict[str, float | None] = {}
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
        self._known[flow_run_id] = None
        _, early = self._early.pop(flow_run_id, (0.0, []))
        if early:
            self._news.extend(early)
            self._something_new.set()

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
                    log.info("Prefect's event stream is away: %s; asking instead", type(broken).__name__)
            self._connected = False
            failures += 1
            await asyncio.sleep(backoff.delay(failures).total_seconds())

    def _take(self, notice: RunNotice) -> None:
        if notice.flow_run_id in self._known:
            self._news.append(notice)
            self._something_new.set()
            return
        if _is_end(notice):
            self._on_finished(notice.deployment_id)
        self._early.setdefault(notice.flow_run_id, (time.monotonic(), []))[1].append(notice)

    async def _write_for_ever(self) -> None:
        while True:
            await self._something_new.wait()
            self._something_new.clear()
            news, self._news = self._news, []
            try:
                await self._write([_seen(notice) for notice in news])
                # Only now: what waited for the run's end is released by that being written.
                for notice in news:
                    if _is_end(notice):
                        self._on_finished(notice.deployment_id)
            except InboxError as failed:
                log.error("news of runs: %s", failed)
                self._news[:0] = news
                self._something_new.set()
                await asyncio.sleep(1)

    async def _write(self, seen: list[RunSeen]) -> None:
        self._changes.announce(await self._inbox.see_runs(seen))
        until = time.monotonic() + LATE_NEWS_SECONDS
        for run in seen:
            if run.state in TERMINAL_STATES and self._known.get(run.flow_run_id, 0.0) is None:
                self._known[run.flow_run_id] = until

    # Asking ---------------------------------------------------------------------------------------

    async def _ask_for_ever(self) -> None:
        while True:
            self._ask_now.clear()
            try:
                await self._ask()
            except (PrefectUnavailable, PrefectRefused, InboxError) as failed:
                log.debug("asking for runs: %s", failed)
            self._forget_old()
            try:
                async with asyncio.timeout(ASK_SECONDS if self._connected else ASK_SECONDS_BLIND):
                    await self._ask_now.wait()
            except TimeoutError:
                continue

    async def _ask(self) -> None:
        """Ask for all unfinished runs of the inbox, also those that a killed gateway had started."""
        after = ""
        while running := await self._inbox.running(limit=PAGE, after=after):
            after = running[-1].id
            ids = [dispatch.flow_run_id for dispatch in running if dispatch.flow_run_id is not None]
            for run_id in ids:
                if run_id not in self._known:
                    self.follow(run_id)
            runs = {run.id: run for run in await self._prefect.runs(ids)}
            finished = [run.id for run in runs.values() if run.state in TERMINAL_STATES]
            first = await self._prefect.first_tasks(finished) if finished else {}
            seen = [_asked(run, first.get(run.id)) for run in runs.values()]
            moment = now()
            seen += [
                RunSeen(dispatch.flow_run_id, "GONE", moment, finished=moment)
                for dispatch in running
                if dispatch.flow_run_id is not None
                and dispatch.flow_run_id not in runs
                and moment - (dispatch.run_created or dispatch.created) > GONE_AFTER
            ]
            await self._write(seen)
            for run in runs.values():
                if run.state in TERMINAL_STATES:
                    self._on_finished(run.deployment_id)

    def _forget_old(self) -> None:
        moment = time.monotonic()
        for run_id in [
            run_id for run_id, until in self._known.items() if until is not None and until < moment
        ]:
            del self._known[run_id]
        limit = moment - EARLY_NEWS_SECONDS
        for run_id in [run_id for run_id, (since, _) in self._early.items() if since < limit]:
            del self._early[run_id]


def _is_end(notice: RunNotice) -> bool:
    return notice.state in TERMINAL_STATES and notice.task_run_id is None


def _seen(notice: RunNotice) -> RunSeen:
    details: dict[str, Any] = {}
    if notice.task_run_id is not None:
        details["first_task"] = notice.at
    elif notice.state == "RUNNING":
        details["started"] = notice.at
    elif notice.state in TERMINAL_STATES:
        details["finished"] = notice.at
    return RunSeen(notice.flow_run_id, notice.state, notice.at, **details)


def _asked(run: RunInfo, first_task: Any) -> RunSeen:
    final = run.state in TERMINAL_STATES
    return RunSeen(
        run.id,
        run.state,
        run.state_at,
        started=run.started,
        first_task=first_task,
        finished=(run.finished or run.state_at) if final else None,
        name=run.name,
    )
