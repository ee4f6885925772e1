"""The inbox: the one seam through which everything durable passes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from hookline.errors import InboxError, InboxFull
from hookline.event import Draft, Event, new_id, now
from hookline.inbox import counting, holding, keeping, reading, routing, searching, settling, sighting
from hookline.inbox.engine import READERS, inbox_url, is_in_memory, migrate, open_engine
from hookline.inbox.readiness import Readiness
from hookline.inbox.records import (
    Arrival,
    Dispatch,
    News,
    Recorded,
    Rejection,
    Routed,
    Routing,
    RunSeen,
    Search,
    StoredBody,
    StoredEvent,
    Tracked,
    id_at,
    to_micros,
)
from hookline.inbox.writer import Writer
from hookline.private_files import make_private_file

T = TypeVar("T")

_MICROSECOND = timedelta(microseconds=1)
#: A clock that is set back by less keeps the order of arrival; one that is set back by more is believed.
_SMALL_STEP_BACK = timedelta(seconds=1)


class Documented(Protocol):
    """Anything that can be written as a JSON document, such as a trigger."""

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""
        ...


class Inbox:
    """The durable store of events, dispatches and trigger sets, on SQLite or PostgreSQL.

    Open it with `Inbox.open`. All methods are safe to call from one event loop at once; SQL runs in
    threads: one that writes (see `hookline.inbox.writer`), and a few that read.

    Parameters
    ----------
    writer: the one writing thread.
    engine: connections for reading; None where the writer's is the only one there can be.
    is_shared: other gateways may work on this inbox at the same time.
    """

    def __init__(self, writer: Writer, engine: Engine | None, *, is_shared: bool) -> None:
        #: Who holds the leases of this process.
        self.owner = new_id()
        self.is_shared = is_shared
        self._writer = writer
        self._engine = engine
        on_disk = None if engine is None or is_shared else Path(str(engine.url.database)).parent
        self.readiness = Readiness(self.write, on_disk)
        self._last_accepted = datetime.min.replace(tzinfo=UTC)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="hookline-inbox-reader")

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, address: str, *, exclusive: bool = False) -> AsyncIterator[Inbox]:
        """Open and migrate the inbox; close it at the end, with all that waits written.

        Parameters
        ----------
        address: an SQLAlchemy address, `sqlite:///...` or `postgresql://...`; `sqlite://` is in memory.
        exclusive: this process dispatches, and on SQLite no other may.

        Raises
        ------
        InboxError: it cannot be opened, or another gateway has this SQLite inbox.
        """
        url = inbox_url(address)
        with _only_dispatcher(url) if exclusive else contextlib.nullcontext():
            writing = open_engine(url, writing=True)
            reading_too = None if is_in_memory(url) else open_engine(url, writing=False)
            try:
                await asyncio.to_thread(migrate, writing)
                shared = writing.dialect.name == "postgresql"
                inbox = cls(Writer(writing), reading_too, is_shared=shared)
                try:
                    yield inbox
                finally:
                    await inbox._close()
            finally:
                writing.dispose()
                if reading_too is not None:
                    reading_too.dispose()

    async def _close(self) -> None:
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)

    async def write(self, work: Callable[[Connection], T], *, is_brief: bool = False) -> T:
        """Run `work` in the next transaction of the one writer; return its result once that is on the disk.

        For the modules of this package and the store of lineage: no SQL lives elsewhere. `work` may run again
        where its transaction had to be repeated.

        Parameters
        ----------
        is_brief: it takes some hundred microseconds at most: the event loop may do it.

        Raises
        ------
        InboxFull: the database cannot write just now.
        InboxRefused: it refuses what was to be written.
        """
        return await self._writer.execute(work, is_brief=is_brief)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of a reader, which sees one moment; for the same modules as `write`.

        Raises
        ------
        InboxError: the database cannot be read.
        """
        if self._engine is None:
            return await self._writer.execute(work)
        engine = self._engine

        def run() -> T:
            with engine.begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except SQLAlchemyError as failed:
            cause = str(getattr(failed, "orig", None) or failed).partition("\n")[0]
            raise InboxError(
                f"the inbox cannot be read: {cause}; is its database up and reachable?"
            ) from failed

    # Events ---------------------------------------------------------------------------------------

    async def record(
        self, draft: Draft, *, accepted: datetime | None = None, unexpected_in: int | None = None
    ) -> tuple[Recorded, datetime]:
        """Put a draft on the disk, deduplicated at its door; return what became of it and its accepted time.

        Parameters
        ----------
        accepted: now, by the caller's clock; it is moved on so far that no two events have the same.
        unexpected_in: a version of the trigger set in which no trigger expects its type: while that is the
            one in force, the event is routed with the same write, as ignored.

        Raises
        ------
        InboxFull: the inbox cannot take it now.
        """
        moment = self._next_moment(now() if accepted is None else accepted)
        arrival = Arrival(id_at(to_micros(moment)), draft, moment, unexpected_in)
        try:
            recorded = await self._writer.record(arrival)
        except InboxFull as full:
            self.readiness.refused(full)
            raise
        self.readiness.taken()
        return recorded, moment

    def _next_moment(self, moment: datetime) -> datetime:
        if timedelta(0) <= self._last_accepted - moment < _SMALL_STEP_BACK:
            moment = self._last_accepted + _MICROSECOND
        self._last_accepted = moment
        return moment

    async def event(self, event_id: str) -> StoredEvent | None:
        """Return an event, or None."""
        return await self.read(lambda c: reading.stored_event(c, event_id))

    async def body(self, event_id: str) -> StoredBody | None:
        """Return an event's received bytes, or None."""
        return await self.read(lambda c: reading.stored_body(c, event_id))

    async def full_event(self, event_id: str) -> Event | None:
        """Return an event with its data, or None."""

        def read(connection: Connection) -> Event | None:
            stored = reading.stored_event(connection, event_id)
            return None if stored is None else reading.with_data(connection, stored)

        return await self.read(read)

    async def replayable(self, event_id: str) -> Event | None:
        """Return an event with its data, or None where it or its body is not kept any more."""
        return await self.read(lambda c: reading.replayable(c, event_id))

    async def effects(self, event_id: str) -> list[str]:
        """Return the ids of the events that the event's runs sent."""
        return await self.read(lambda c: reading.effects(c, event_id))

    async def search(self, search: Search) -> list[StoredEvent]:
        """Return one page of a search."""
        return await self.read(lambda c: searching.search_events(c, search))

    async def unrouted(
        self, *, limit: int, limit_bytes: int, before: datetime | None = None, after: str = ""
    ) -> tuple[list[Event], list[str]]:
        """Return accepted events that were not routed, oldest first, and ids of those that cannot be read."""
        return await self.read(
            lambda c: reading.unrouted_events(
                c, limit=limit, limit_bytes=limit_bytes, before=before, after=after
            )
        )

    # Trigger sets ---------------------------------------------------------------------------------

    async def save_trigger_set(self, triggers: Sequence[Documented]) -> int:
        """Make these triggers the ones in force; return their version, the present one if nothing changed."""
        documents = [trigger.to_dict() for trigger in triggers]
        return await self.write(lambda c: keeping.save_trigger_set(c, documents, at=now()))

    async def trigger_set(self, version: int | None = None) -> tuple[int, list[dict[str, Any]]]:
        """Return a version of the trigger set, the newest by default: its number and the triggers' documents.

        Version 0 is the empty set, before the first deploy.
        """
        return await self.read(lambda c: keeping.trigger_set(c, version))

    # Dispatches -----------------------------------------------------------------------------------

    async def route(
        self, routings: Sequence[Routing], *, at: datetime, lease: timedelta, unleased: Collection[str] = ()
    ) -> Routed | None:
        """Write what matching decided; return what was made, ready dispatches leased to this process.

        None, and nothing is written, where a newer trigger set is in force than the one matched against.

        Parameters
        ----------
        unleased: lanes that cannot take more now: their dispatches are leased by nobody.
        """
        return await self.write(
            lambda c: routing.route(c, routings, at=at, owner=self.owner, lease=lease, unleased=unleased),
            is_brief=routing.is_brief(routings),
        )

    async def replay(
        self, routing_of_replay: Routing, *, at: datetime, lease: timedelta
    ) -> list[Dispatch] | None:
        """Write an event's further dispatches; return all of them, the pending ones leased to this process.

        None, and nothing is written, where a newer trigger set is in force than the one matched against.
        """
        routed = await self.route([routing_of_replay], at=at, lease=lease)
        return None if routed is None else routed.dispatches

    async def promote_due(self, *, at: datetime) -> tuple[set[str], bool]:
        """Let held dispatches whose time has come go on; return their lanes, and if there may be more."""
        return await self.write(lambda c: holding.promote_due(c, at=at))

    async def next_due(self) -> datetime | None:
        """Return when the next held dispatch's time comes."""
        return await self.read(holding.next_due)

    async def claim(self, lane: str, *, limit: int, at: datetime, lease: timedelta) -> list[Dispatch]:
        """Lease a lane's oldest pending dispatches."""
        return await self.write(
            lambda c: settling.claim(c, lane=lane, limit=limit, at=at, owner=self.owner, lease=lease)
        )

    async def waiting_lanes(self, *, at: datetime) -> list[str]:
        """Return the lanes with pending dispatches that may be claimed."""
        return await self.read(lambda c: settling.waiting_lanes(c, at=at))

    async def renew_leases(self, dispatch_ids: Sequence[str], *, at: datetime, lease: timedelta) -> set[str]:
        """Extend leases of this process; return the ids of those that it still has."""
        return await self.write(
            lambda c: settling.renew_leases(c, dispatch_ids, owner=self.owner, at=at, lease=lease)
        )

    async def release_leases(self, ids: Sequence[str] | None = None, *, everybody: bool = False) -> int:
        """Give leases back: those of some dispatches, all of this process, or everybody's."""
        owner = None if everybody else self.owner
        return await self.write(lambda c: settling.release_leases(c, owner=owner, ids=ids))

    async def settle_started(
        self,
        dispatch: Dispatch,
        *,
        flow_run_id: str,
        flow_run_name: str,
        deployment_id: str,
        state: str,
        created: datetime,
        at: datetime,
    ) -> bool:
        """Write that Prefect acknowledged the dispatch's run; False where it was settled before."""
        return await self.write(
            lambda c: settling.settle_started(
                c,
                dispatch,
                flow_run_id=flow_run_id,
                flow_run_name=flow_run_name,
                deployment_id=deployment_id,
                state=state,
                created=created,
                at=at,
            )
        )

    async def settle_retry(
        self, dispatch: Dispatch, *, reason: str, due: datetime, keep_lease: bool = False
    ) -> None:
        """Write that an attempt failed for now, and when the next one is."""
        await self.write(
            lambda c: settling.settle_retry(c, dispatch, reason=reason, due=due, keep_lease=keep_lease)
        )

    async def settle_dead(self, dispatch: Dispatch, *, reason: str, response: str, at: datetime) -> set[str]:
        """Write that the dispatch gave up, and why; return the lanes in which others may go on for it."""
        return await self.write(
            lambda c: settling.settle_dead(c, dispatch, reason=reason, response=response, at=at)
        )

    async def see_runs(self, seen: Sequence[RunSeen]) -> News:
        """Write what was seen of runs; return what that changed."""
        return await self.write(lambda c: sighting.see_runs(c, seen))

    async def dispatch(self, dispatch_id: str) -> Dispatch | None:
        """Return a dispatch, or None."""
        return await self.read(lambda c: reading.dispatch(c, dispatch_id))

    async def dispatches(self, event_id: str) -> list[Dispatch]:
        """Return an event's dispatches, oldest first."""
        return await self.read(lambda c: reading.event_dispatches(c, [event_id]))

    async def running(self, *, limit: int, after: str = "") -> list[Dispatch]:
        """Return started dispatches whose runs are not finished."""
        return await self.read(lambda c: reading.running_dispatches(c, limit=limit, after=after))

    async def unfinished(self, dispatch_ids: Sequence[str]) -> set[str]:
        """Return those of some dispatches that may still have an unfinished run."""
        return await self.read(lambda c: reading.unfinished(c, dispatch_ids))

    async def dead(
        self, *, limit: int, cursor: str | None = None, trigger_id: str | None = None
    ) -> list[Dispatch]:
        """Return dead letters that were not replayed, newest first."""
        return await self.read(
            lambda c: reading.dead_dispatches(c, limit=limit, cursor=cursor, trigger_id=trigger_id)
        )

    async def merged(self, dispatch_id: str, *, limit: int) -> list[str]:
        """Return the ids of the events that were merged into a dispatch, newest first."""
        return await self.read(lambda c: reading.merged_events(c, dispatch_id, limit=limit))

    async def track(self, event_id: str) -> Tracked | None:
        """Return all that a tracking document shows of an event, read at one moment, or None."""
        return await self.read(lambda c: reading.track(c, event_id))

    # Mirror, rejections, totals --------------------------------------------------------------------

    async def take_from_outbox(self, *, limit: int, at: datetime, until: datetime) -> list[StoredEvent]:
        """Return the oldest events that are still to be mirrored; nobody else takes them before `until`."""
        return await self.write(lambda c: keeping.take_from_outbox(c, limit=limit, at=at, until=until))

    async def leave_outbox(self, event_ids: Sequence[str], *, mirrored: bool) -> None:
        """Take events out of the mirror's outbox: they were mirrored, or Prefect refused them."""
        await self.write(lambda c: keeping.leave_outbox(c, event_ids, mirrored=mirrored))

    async def trim_outbox(self, *, keep: int) -> int:
        """Leave the oldest events beyond `keep` out of the mirror; return how many."""
        return await self.write(lambda c: keeping.trim_outbox(c, keep=keep))

    async def reject(self, rejections: Sequence[Rejection]) -> None:
        """Write what was turned away, and keep only the newest."""
        await self.write(lambda c: keeping.reject(c, rejections))

    async def rejections(self, *, limit: int, cursor: str | None = None) -> list[Rejection]:
        """Return what was turned away, newest first."""
        return await self.read(lambda c: reading.recent_rejections(c, limit=limit, cursor=cursor))

    async def totals(self) -> dict[str, int]:
        """Return the exact totals by name."""
        return await self.read(counting.totals)

    async def status_counts(self) -> dict[str, int]:
        """Return how many events are kept in each status."""
        return await self.read(reading.status_counts)

    async def shared_secret(self, name: str) -> bytes:
        """Return the 32 random bytes that all gateways of this inbox share under a name."""
        return await self.write(lambda c: keeping.shared_secret(c, name))

    async def identity(self) -> str:
        """Return what tells this inbox apart from others, whose runs may be in the same Prefect."""
        return (await self.shared_secret("inbox"))[:6].hex()

    @property
    def writes_waiting(self) -> int:
        """Return how many writes wait for the disk."""
        return self._writer.waiting


@contextlib.contextmanager
def _only_dispatcher(url: URL) -> Any:
    """Hold the lock that lets one gateway at a time dispatch from an SQLite inbox."""
    if url.get_backend_name() != "sqlite" or is_in_memory(url):
        yield
        return
    path = Path(f"{url.database}.lock")
    make_private_file(path)
    with path.open("w") as lock:
        _take(lock, path)
        yield


def _take(lock: IO[str], path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InboxError(
            f"another gateway already works on this inbox ({path} is locked): stop it, choose another"
            " HOOKLINE_DATA, or set HOOKLINE_DATABASE to PostgreSQL for several gateways side by side"
        ) from None
