"""The inbox: the one seam through which everything durable passes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from hookline.errors import InboxError
from hookline.event import Draft, Event, new_id, now
from hookline.inbox import counting, keeping, reading, routing, settling
from hookline.inbox.engine import READERS, inbox_url, migrate, open_engine
from hookline.inbox.records import (
    Arrival,
    Dispatch,
    Recorded,
    Rejection,
    Routing,
    RunSeen,
    Search,
    StoredBody,
    StoredEvent,
    Tracked,
)
from hookline.inbox.writer import Writer

T = TypeVar("T")


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
    engine: connections for reading.
    owner: who holds the leases of this process.
    """

    def __init__(self, writer: Writer, writing: Engine, engine: Engine) -> None:
        self.owner = new_id()
        self._writer = writer
        self._writing = writing
        self._engine = engine
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="hookline-inbox-reader")

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, address: str, *, exclusive: bool = False) -> AsyncIterator[Inbox]:
        """Open and migrate the inbox; close it at the end, with all that waits written.

        Parameters
        ----------
        address: an SQLAlchemy address, `sqlite:///...` or `postgresql://...`.
        exclusive: this process dispatches, and on SQLite no other may.

        Raises
        ------
        InboxError: it cannot be opened, or another gateway has this SQLite inbox.
        """
        url = inbox_url(address)
        with _only_dispatcher(url) if exclusive else contextlib.nullcontext():
            writing, engine = open_engine(url, writing=True), open_engine(url, writing=False)
            try:
                await asyncio.to_thread(migrate, writing)
                inbox = cls(Writer(writing), writing, engine)
                try:
                    yield inbox
                finally:
                    await inbox._close()
            finally:
                writing.dispose()
                engine.dispose()

    async def _close(self) -> None:
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)

    # Events ---------------------------------------------------------------------------------------

    async def record(
        self, draft: Draft, *, accepted: datetime | None = None, unexpected_in: int | None = None
    ) -> tuple[Recorded, datetime]:
        """Put a draft on the disk, deduplicated at its door; return what became of it and its accepted time.

        Parameters
        ----------
        draft: the event to be.
        accepted: when it came, if not now.
        unexpected_in: a version of the trigger set in which no trigger expects its type: while that is the
            one in force, the event is routed with the same write, as ignored.

        Raises
        ------
        InboxFull: the inbox cannot take it now.
        """
        moment = now() if accepted is None else accepted
        return await self._writer.record(Arrival(new_id(), draft, moment, unexpected_in)), moment

    async def event(self, event_id: str) -> StoredEvent | None:
        """Return an event, or None."""
        return await self._read(lambda c: reading.stored_event(c, event_id))

    async def body(self, event_id: str) -> StoredBody | None:
        """Return an event's received bytes, or None."""
        return await self._read(lambda c: reading.stored_body(c, event_id))

    async def full_event(self, event_id: str) -> Event | None:
        """Return an event with its data, or None."""

        def read(connection: Connection) -> Event | None:
            stored = reading.stored_event(connection, event_id)
            return None if stored is None else reading.with_data(connection, stored)

        return await self._read(read)

    async def effects(self, event_id: str) -> list[str]:
        """Return the ids of the events that the event's runs sent."""
        return await self._read(lambda c: reading.effects(c, event_id))

    async def search(self, search: Search) -> list[StoredEvent]:
        """Return one page of a search."""
        return await self._read(lambda c: reading.search_events(c, search))

    async def unrouted(self, *, limit: int, before: datetime | None = None) -> list[Event]:
        """Return accepted events that were not routed, oldest first."""
        return await self._read(lambda c: reading.unrouted_events(c, limit=limit, before=before))

    # Trigger sets ---------------------------------------------------------------------------------

    async def save_trigger_set(self, triggers: Sequence[Documented]) -> int:
        """Make these triggers the ones in force; return their version, the present one if nothing changed."""
        documents = [trigger.to_dict() for trigger in triggers]
        return await self._writer.execute(lambda c: keeping.save_trigger_set(c, documents, at=now()))

    async def trigger_set(self, version: int | None = None) -> tuple[int, list[dict[str, Any]]]:
        """Return a version of the trigger set, the newest by default: its number and the triggers' documents.

        Version 0 is the empty set, before the first deploy.
        """
        return await self._read(lambda c: keeping.trigger_set(c, version))

    # Dispatches -----------------------------------------------------------------------------------

    async def route(
        self, routings: Sequence[Routing], *, at: datetime, lease: timedelta
    ) -> list[Dispatch] | None:
        """Write what matching decided; return the dispatches that may start now, leased to this process.

        None, and nothing is written, where a newer trigger set is in force than the one matched against.
        """
        return await self._writer.execute(
            lambda c: routing.route(c, routings, at=at, owner=self.owner, lease=lease)
        )

    async def promote_due(self, *, at: datetime) -> int:
        """Let held dispatches whose time has come go on; return how many there were."""
        return await self._writer.execute(lambda c: routing.promote_due(c, at=at))

    async def next_due(self) -> datetime | None:
        """Return when the next held dispatch's time comes."""
        return await self._read(routing.next_due)

    async def claim(self, lane: str, *, limit: int, at: datetime, lease: timedelta) -> list[Dispatch]:
        """Lease a lane's oldest pending dispatches."""
        return await self._writer.execute(
            lambda c: settling.claim(c, lane=lane, limit=limit, at=at, owner=self.owner, lease=lease)
        )

    async def waiting_lanes(self, *, at: datetime) -> dict[str, int]:
        """Return the lanes with pending dispatches that nobody holds, and how many."""
        return await self._read(lambda c: settling.waiting_lanes(c, at=at))

    async def renew_leases(self, *, at: datetime, lease: timedelta) -> int:
        """Extend this process's leases."""
        return await self._writer.execute(
            lambda c: settling.renew_leases(c, owner=self.owner, at=at, lease=lease)
        )

    async def release_leases(self, ids: Sequence[str] | None = None, *, everybody: bool = False) -> int:
        """Give leases back: those of some dispatches, all of this process, or everybody's."""
        owner = None if everybody else self.owner
        return await self._writer.execute(lambda c: settling.release_leases(c, owner=owner, ids=ids))

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
    ) -> None:
        """Write that Prefect acknowledged the dispatch's run."""
        await self._writer.execute(
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
        await self._writer.execute(
            lambda c: settling.settle_retry(c, dispatch, reason=reason, due=due, keep_lease=keep_lease)
        )

    async def settle_dead(self, dispatch: Dispatch, *, reason: str, response: str, at: datetime) -> None:
        """Write that the dispatch gave up, and why."""
        await self._writer.execute(
            lambda c: settling.settle_dead(c, dispatch, reason=reason, response=response, at=at)
        )

    async def see_runs(self, seen: Sequence[RunSeen]) -> list[str]:
        """Write what was seen of runs; return the ids of events whose picture changed."""
        return await self._writer.execute(lambda c: settling.see_runs(c, seen))

    async def dispatches(self, event_id: str) -> list[Dispatch]:
        """Return an event's dispatches, oldest first."""
        return await self._read(lambda c: reading.event_dispatches(c, [event_id]))

    async def running(self, *, limit: int, after: str = "", lane: str | None = None) -> list[Dispatch]:
        """Return started dispatches whose runs are not finished."""
        return await self._read(lambda c: reading.running_dispatches(c, limit=limit, after=after, lane=lane))

    async def dead(self, *, limit: int, cursor: str | None = None) -> list[Dispatch]:
        """Return dead letters, newest first."""
        return await self._read(lambda c: reading.dead_dispatches(c, limit=limit, cursor=cursor))

    async def merged(self, dispatch_id: str, *, limit: int) -> list[str]:
        """Return the ids of the events that were merged into a dispatch, newest first."""
        return await self._read(lambda c: reading.merged_events(c, dispatch_id, limit=limit))

    async def track(self, event_id: str) -> Tracked | None:
        """Return all that a tracking document shows of an event, read at one moment; None where there is none."""
        return await self._read(lambda c: reading.track(c, event_id))

    # Mirror, rejections, totals --------------------------------------------------------------------

    async def outbox(self, *, limit: int) -> list[StoredEvent]:
        """Return the oldest events that are still to be mirrored."""
        return await self._read(lambda c: keeping.outbox(c, limit=limit))

    async def mirrored(self, event_ids: Sequence[str]) -> None:
        """Take events out of the mirror's outbox."""
        await self._writer.execute(lambda c: keeping.mirrored(c, event_ids))

    async def trim_outbox(self, *, keep: int) -> int:
        """Leave the oldest events beyond `keep` out of the mirror; return how many."""
        return await self._writer.execute(lambda c: keeping.trim_outbox(c, keep=keep))

    async def reject(self, rejections: Sequence[Rejection]) -> None:
        """Write what was turned away, and keep only the newest."""
        await self._writer.execute(lambda c: keeping.reject(c, rejections))

    async def rejections(self, *, limit: int, cursor: str | None = None) -> list[Rejection]:
        """Return what was turned away, newest first."""
        return await self._read(lambda c: reading.recent_rejections(c, limit=limit, cursor=cursor))

    async def totals(self) -> dict[str, int]:
        """Return the exact totals by name."""
        return await self._read(counting.totals)

    async def status_counts(self) -> dict[str, int]:
        """Return how many events are kept in each status."""
        return await self._read(reading.status_counts)

    async def shared_secret(self, name: str) -> bytes:
        """Return the 32 random bytes that all gateways of this inbox share under a name."""
        return await self._writer.execute(lambda c: keeping.shared_secret(c, name))

    # Other tables of this database -----------------------------------------------------------------

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run a store's work inside the next transaction of the one writer; return once it is on the disk."""
        return await self._writer.execute(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run a store's reading in a thread, at one moment of the database."""
        return await self._read(work)

    @property
    def is_shared(self) -> bool:
        """Return whether other gateways may work on this inbox at the same time."""
        return self._engine.dialect.name == "postgresql"

    @property
    def writes_waiting(self) -> int:
        """Return how many writes wait for the disk."""
        return self._writer.waiting

    async def _read(self, work: Callable[[Connection], T]) -> T:
        def run() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except SQLAlchemyError as failed:
            cause = getattr(failed, "orig", None) or failed
            raise InboxError(
                f"the inbox cannot be read: {cause}; is its database up and reachable?"
            ) from failed


@contextlib.contextmanager
def _only_dispatcher(url: URL) -> Any:
    """Hold the lock that lets one gateway at a time dispatch from an SQLite inbox."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        yield
        return
    path = Path(f"{url.database}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
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
