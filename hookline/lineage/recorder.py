"""The recorder: copies from Prefect what Prefect would forget, and what it never keeps together.

The event stream is quick, but may drop what it sends and knows nothing of the time before it was opened. So
what the stream gave is compared with what Prefect has stored, window after window, and read again where
something is missing: on a start, after the server was away, and when the stream fell behind. Runs that have
ended are asked for by id once more, which needs no events at all.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from hookline.backoff import Backoff
from hookline.errors import InboxError, PrefectRefused, PrefectUnavailable
from hookline.event import now
from hookline.feed import PrefectEvent, StreamLost
from hookline.inbox import Inbox
from hookline.inbox.records import from_micros, to_micros
from hookline.lineage import books, store
from hookline.lineage.looking import is_dispatched, look_up, missed_runs
from hookline.lineage.observing import is_foreign, observe
from hookline.lineage.records import Observation
from hookline.prefect_api import PAGE, PrefectApi

log = logging.getLogger(__name__)

#: News is collected for so long, so that one transaction takes many.
GATHER_SECONDS = 0.1
#: Events in one transaction.
BATCH = 500
#: Events that wait to be written; the stream is not read further meanwhile.
WAITING = 5_000
#: How often what the stream gave is compared with what Prefect has stored.
SWEEP_SECONDS = 15.0
LONGEST_SWEEP_SECONDS = 120.0
#: After the stream was lost, so often and so soon: it begins again with what is stored, which lags behind.
EAGER_SWEEPS = 4
EAGER_SWEEP_SECONDS = 3.0
#: Prefect stores events some seconds after it streams them.
STORED_AFTER = timedelta(seconds=20)
#: A window is looked at again for so long: a sender that could not reach Prefect sends late.
LATE = timedelta(minutes=3)
#: Ids of events that are remembered, to tell what was missed.
REMEMBERED = 100_000
#: A window with more events than this is parted where only some of it are missing.
PARTED = 200
#: Prefect forgets events after 7 days.
OLDEST = timedelta(days=7)
#: A new run is asked for soon, one that has ended when its last task runs and assets are stored.
ASK_NEW_SECONDS = 0.5
ASK_FINISHED_SECONDS = 3.0
LONGEST_ASK_SECONDS = 60.0
#: Runs that have not ended are asked for when nothing was heard of them for so long.
SILENT = timedelta(seconds=30)
#: One gateway records, and says so often enough that another takes over when it is gone.
LEASE = timedelta(seconds=30)
PRUNE_SECONDS = 600.0
PRUNE_BATCH = 200


class Recorder:
    """Keeps lineage up to date.

    Parameters
    ----------
    inbox: where it is kept.
    prefect: where it comes from.
    admit: takes an event that somebody emitted with Prefect's own `emit_event`.
    export: whether runs are to be exported to OpenLineage.
    retention: for how long a run is kept after the last news of it.
    """

    def __init__(
        self,
        inbox: Inbox,
        prefect: PrefectApi,
        *,
        admit: Callable[[PrefectEvent], Awaitable[None]],
        export: bool,
        retention: timedelta,
    ) -> None:
        self._inbox = inbox
        self._prefect = prefect
        self._admit = admit
        self._export = export
        self._retention = retention
        # Ids of the events that were taken, with their time.
        self._taken: OrderedDict[str, datetime] = OrderedDict()
        self._waiting: list[PrefectEvent] = []
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._written = asyncio.Event()
        # Flow runs to be asked for, with the time from which on.
        self._to_ask: dict[str, float] = {}
        self._sweep_now = asyncio.Event()
        # Since when the stream gave nothing, and runs may have gone unseen altogether.
        self._blind_since: datetime | None = None
        self._eager = EAGER_SWEEPS
        self._cursor = now()
        self._foreign_since = self._cursor
        self._counting_took = 0.0

    async def run(self) -> None:
        """Record for ever; where several gateways share an inbox, one of them at a time does."""
        while True:
            if not self._inbox.is_shared:
                await self._record()
            elif await self._lease():
                try:
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._record())
                        tasks.create_task(self._keep_lease())
                except* _LeaseLost:
                    log.info("another gateway records lineage now")
            await asyncio.sleep(LEASE.total_seconds() / 3)

    async def _lease(self) -> bool:
        moment = now()
        try:
            return await self._inbox.write(
                lambda c: books.take_lease(
                    c, "recorder", owner=self._inbox.owner, at=moment, until=moment + LEASE
                )
            )
        except InboxError:
            return False

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            if not await self._lease():
                raise _LeaseLost

    async def _record(self) -> None:
        await self._until_it_works(self._remember, "lineage: reading how far it was")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen_for_ever())
            tasks.create_task(self._write_for_ever())
            tasks.create_task(self._sweep_for_ever())
            tasks.create_task(self._ask_for_ever())
            tasks.create_task(self._prune_for_ever())

    async def _remember(self) -> None:
        """Read how far the last recorder came; the first one begins now."""
        moment = now()

        def read_or_begin(connection: Connection) -> tuple[datetime, datetime]:
            since = books.note(connection, "since")
            cursor = books.note(connection, "cursor")
            if since is None or cursor is None:
                since = cursor = str(to_micros(moment))
                books.write_note(connection, "since", since)
                books.write_note(connection, "cursor", cursor)
            return from_micros(int(since)), from_micros(int(cursor))

        # What others emitted before Hookline was there must not start runs now.
        self._foreign_since, cursor = await self._inbox.write(read_or_begin)
        self._cursor = max(cursor, moment - OLDEST)
        self._blind_since = self._cursor

    # The stream -----------------------------------------------------------------------------------

    async def _listen_for_ever(self) -> None:
        backoff, failures = Backoff(), 0
        while True:
            try:
                async for event in self._prefect.events():
                    failures = 0
                    await self._take(event)
            except StreamLost as lost:
                log.debug("lineage: %s", lost)
            self._blind_since = self._blind_since or now() - LATE
            self._eager = EAGER_SWEEPS
            failures += 1
            # What happens while the stream is away is read afterwards, so there is no hurry.
            await asyncio.sleep(backoff.delay(failures, at_least=0.2).total_seconds())
            self._sweep_now.set()

    async def _take(self, event: PrefectEvent) -> None:
        if event.id in self._taken:
            return
        self._taken[event.id] = event.occurred
        if len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)
        self._waiting.append(event)
        self._something.set()
        if len(self._waiting) >= WAITING:
            self._room.clear()
            await self._room.wait()

    async def _write_for_ever(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            self._written.clear()
            await asyncio.sleep(GATHER_SECONDS)
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                if len(self._waiting) < WAITING:
                    self._room.set()
                await self._until_it_works(partial(self._write, batch), "lineage: writing")
            self._written.set()

    async def _write(self, events: Sequence[PrefectEvent]) -> None:
        await self._apply([seen for event in events if (seen := observe(event)) is not None])
        for event in events:
            if is_foreign(event) and event.occurred >= self._foreign_since:
                await self._admit(event)

    async def _apply(self, seen: Sequence[Observation]) -> None:
        if not seen:
            return
        applied = await self._inbox.write(lambda c: store.apply(c, seen, at=now(), export=self._export))
        moment = time.monotonic()
        for run in applied.new:
            if not is_dispatched(run):
                self._to_ask.setdefault(run.id, moment + ASK_NEW_SECONDS)
        for run_id, finished in applied.finished.items():
            # What is still missing some time after the end is asked for more and more rarely.
            wait = max(ASK_FINISHED_SECONDS, (now() - finished).total_seconds() / 2)
            # At full seconds, so that one question is about many.
            self._to_ask[run_id] = math.ceil(moment + min(wait, LONGEST_ASK_SECONDS))

    # What was missed ------------------------------------------------------------------------------

    async def _sweep_for_ever(self) -> None:
        backoff, failures = Backoff(), 0
        while True:
            self._sweep_now.clear()
            try:
                await self._sweep()
                failures = 0
                # Counting is work for Prefect; do not keep it busy with it.
                wait = min(max(SWEEP_SECONDS, 50 * self._counting_took), LONGEST_SWEEP_SECONDS)
                if self._eager:
                    self._eager -= 1
                    wait = EAGER_SWEEP_SECONDS
            except (PrefectUnavailable, PrefectRefused, InboxError) as failed:
                log.debug("lineage: reading what was missed: %s", failed)
                failures += 1
                wait = 1 + backoff.delay(failures).total_seconds()
            try:
                async with asyncio.timeout(wait):
                    await self._sweep_now.wait()
                # The stream was lost; let it be opened again first.
                await asyncio.sleep(GATHER_SECONDS)
            except TimeoutError:
                continue

    async def _sweep(self) -> None:
        """Read what Prefect has stored since the cursor, where it is more than was taken; move the cursor."""
        since, until = self._cursor, now() - STORED_AFTER
        if self._eager or until <= since:
            # Just begun, or begun again: what is stored already is not complete, but may be what is missed.
            until = now()
        await self._read_missed(since, until)
        if (blind_since := self._blind_since) is not None:
            for run_id in await missed_runs(self._inbox, self._prefect, since=blind_since, until=now()):
                self._to_ask.setdefault(run_id, time.monotonic())
            self._blind_since = None
        await self._flushed()
        cursor = max(since, min(until, now() - STORED_AFTER) - LATE)
        if cursor > since:
            self._cursor = cursor
            value = str(to_micros(cursor))
            await self._inbox.write(lambda c: books.write_note(c, "cursor", value))
            self._forget_taken(cursor)

    async def _read_missed(self, since: datetime, until: datetime) -> None:
        """Read a window again if Prefect has stored more of it than was taken; only the part that differs."""
        started = time.monotonic()
        stored, taken = await self._prefect.count_events(since, until), self._count_taken(since, until)
        self._counting_took = time.monotonic() - started
        if stored <= taken:
            return
        if stored > PARTED and taken > stored / 2:
            middle = since + (until - since) / 2
            await self._read_missed(since, middle)
            await self._read_missed(middle, until)
            return
        async for page in self._prefect.past_events(since, until):
            for event in page:
                await self._take(event)

    def _count_taken(self, since: datetime, until: datetime) -> int:
        return sum(since <= occurred <= until for occurred in self._taken.values())

    def _forget_taken(self, before: datetime) -> None:
        for event_id in [event_id for event_id, at in self._taken.items() if at < before]:
            del self._taken[event_id]

    async def _flushed(self) -> None:
        """Wait until all that was taken is written: only then may the cursor pass it."""
        while self._waiting or self._something.is_set():
            self._written.clear()
            await self._written.wait()

    # Asking ---------------------------------------------------------------------------------------

    async def _ask_for_ever(self) -> None:
        last_look = 0.0
        while True:
            await asyncio.sleep(ASK_NEW_SECONDS)
            try:
                if time.monotonic() - last_look > SILENT.total_seconds() / 2:
                    last_look = time.monotonic()
                    await self._ask_silent()
                await self._ask_due()
            except (PrefectUnavailable, PrefectRefused, InboxError) as failed:
                log.debug("lineage: asking for runs: %s", failed)
                await asyncio.sleep(1)

    async def _ask_silent(self) -> None:
        before = now() - SILENT
        moment = time.monotonic()
        for run_id in await self._inbox.read(lambda c: store.unsettled(c, limit=PAGE, before=before)):
            self._to_ask.setdefault(run_id, moment)

    async def _ask_due(self) -> None:
        moment = time.monotonic()
        due = sorted((at, run_id) for run_id, at in self._to_ask.items() if at <= moment)
        ids = [run_id for _, run_id in due[:PAGE]]
        if not ids:
            return
        seen = await look_up(self._inbox, self._prefect, ids)
        for run_id in ids:
            # News that comes while this is written may ask again.
            if self._to_ask.get(run_id, 0.0) <= moment:
                self._to_ask.pop(run_id, None)
        await self._apply(seen)

    # Bounded growth -------------------------------------------------------------------------------

    async def _prune_for_ever(self) -> None:
        while True:
            try:
                pruned = await self._prune()
            except InboxError as failed:
                log.error("lineage: pruning: %s", failed)
                pruned = 0
            # In small steps: events that arrive go first.
            await asyncio.sleep(0.2 if pruned >= PRUNE_BATCH else PRUNE_SECONDS)

    async def _prune(self) -> int:
        before = now() - self._retention
        return await self._inbox.write(lambda c: books.prune(c, before=before, limit=PRUNE_BATCH))

    async def _until_it_works(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        while True:
            try:
                return await work()
            except InboxError as failed:
                log.error("%s: %s", what, failed)
                await asyncio.sleep(1)


class _LeaseLost(Exception):
    """Another gateway records now."""
