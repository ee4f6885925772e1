"""The audit: the inbox's books, held against each other and against Prefect.

It proves that received = accepted + pending + dispatched + ignored + dead (+ pruned), that each started
dispatch has one flow run, found by the dispatch's idempotency key, and that each run of this inbox has its
dispatch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from hookline.inbox import Inbox
from hookline.inbox.anchoring import Since, read_anchor, since_anchor
from hookline.inbox.books import Books, StartedRun, books, started_runs
from hookline.inbox.proving import Proof, prove
from hookline.inbox.rules import NAMED, Fault
from hookline.prefect_api import PrefectApi
from hookline.unknown_runs import Search, UnknownRuns

#: Started dispatches that Prefect is asked about at once.
PAGE = 200
#: Keys that are looked for a second run at once: Prefect has no index for that and reads all of its runs.
KEYS_AT_ONCE = 5_000
#: Where Prefect has none of the newest runs, and those are so many, nobody has deleted one here and there.
AT_THE_END = 3
MISSING = "Prefect has no such run, and was never seen to have it"


@dataclass(frozen=True, slots=True)
class Missing:
    """A started dispatch that does not have exactly its one run in Prefect.

    Parameters
    ----------
    reason: what was found instead.
    """

    dispatch_id: str
    event_id: str
    flow_run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Older:
    """What Prefect lost at its end, as one does that was restored from a backup.

    Parameters
    ----------
    since: when the newest run that it still has was made.
    runs: how many were started after that one; it has none of them.
    """

    since: datetime
    runs: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Parameters
    ----------
    books: the inbox's counts and rules.
    proof: what the chain proves of the inbox's rows.
    since: what an anchor proves, where one was given.
    runs: started dispatches that Prefect was asked about; None where it was not asked.
    gone: runs that Prefect was seen to have, and that were deleted since: no fault.
    missing: dispatches without their run, or with a second one; the first `NAMED` of them.
    missing_count: how many those are.
    older: what Prefect has not, where it is older than the inbox.
    unknown: runs that Prefect has, and the inbox does not account for.
    """

    books: Books
    proof: Proof
    since: Since | None = None
    runs: int | None = None
    gone: int = 0
    missing: tuple[Missing, ...] = ()
    missing_count: int = 0
    older: Older | None = None
    unknown: UnknownRuns = field(default_factory=UnknownRuns)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return the rules that do not hold."""
        since = () if self.since is None else self.since.faults
        return self.books.faults + self.proof.faults + since

    @property
    def balances(self) -> bool:
        """Return whether everything adds up."""
        in_prefect = self.missing_count or self.unknown.count or self.unknown.newer
        return not self.faults and not in_prefect and self.older is None


async def audit(
    inbox: Inbox,
    prefect: PrefectApi | None,
    *,
    deep: bool = False,
    older_until: datetime | None = None,
    since: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Audit:
    """Hold the inbox's books against each other, and its started dispatches against Prefect.

    Parameters
    ----------
    prefect: None leaves Prefect out.
    deep: read every body, and compare it with its digest.
    older_until: until then an older version, which knows no chain, wrote to this inbox too.
    since: an anchor that was taken before: nothing may have changed that it was taken of.
    progress: told how many started dispatches have been looked at.

    Raises
    ------
    AnchorUnusable: `since` is no anchor of this inbox.
    InboxError, PrefectUnavailable, PrefectRefused: it could not be finished.
    """

    identity = await inbox.identity()
    anchor = None if since is None else read_anchor(since, identity)

    def look(connection: Any) -> tuple[Books, Proof, Since | None]:
        return (
            books(connection),
            prove(connection, deep=deep, older_until=older_until),
            None if anchor is None else since_anchor(connection, anchor),
        )

    found, proof, unchanged = await inbox.read(look)
    if prefect is None:
        return Audit(found, proof, unchanged)
    search = Search(inbox, prefect, identity)
    await search.begin()
    newest_there: datetime | None = None
    absent_since = 0
    runs, gone = 0, 0
    wrong: list[tuple[StartedRun, str]] = []
    wrong_count = 0
    unchecked: list[StartedRun] = []
    after = ""
    while True:
        page = await inbox.read(partial(_started, after))
        faults: list[tuple[StartedRun, str | None]] = []
        if page:
            after = page[-1].dispatch_id
            runs += len(page)
            unchecked += page
            faults += await _without_run(prefect, page)
            absent = {run.dispatch_id for run, reason in faults if reason in (None, MISSING)}
            for run in page:
                if run.dispatch_id in absent:
                    # Whoever erases a person's data deletes the runs that had it.
                    absent_since += not run.erased
                else:
                    newest_there, absent_since = run.run_created, 0
        if unchecked and (len(unchecked) >= KEYS_AT_ONCE or not page):
            faults += await _with_more_runs(prefect, unchecked)
            await search.known([run.flow_run_id for run in unchecked])
            unchecked = []
        for run, reason in faults:
            if reason is None:
                gone += 1
                continue
            wrong_count += 1
            if len(wrong) < NAMED:
                wrong.append((run, reason))
        progress(runs)
        if not page:
            break
    missing = tuple(Missing(run.dispatch_id, run.event_id, run.flow_run_id, why) for run, why in wrong)
    is_older = newest_there is not None and absent_since >= AT_THE_END
    older = Older(newest_there, absent_since) if is_older and newest_there is not None else None
    unknown = await search.end()
    return Audit(found, proof, unchanged, runs, gone, missing, wrong_count, older, unknown)


def _started(after: str, connection: Any) -> list[StartedRun]:
    return started_runs(connection, after=after, limit=PAGE)


async def _without_run(
    prefect: PrefectApi, page: Sequence[StartedRun]
) -> list[tuple[StartedRun, str | None]]:
    """Return the dispatches without their run, each with what is wrong, or None for one that is gone."""
    ids = [run.flow_run_id for run in page]
    keys = [_key(run) for run in page]
    # Ids are the primary key there and keys have no index of their own; and where as many runs are found
    # as were asked for, nothing more has to be read: parameters can be half a megabyte each.
    if await prefect.count_runs(ids=ids, idempotency_keys=keys) == len(page):
        return []
    there = {run.id: run.idempotency_key for run in await prefect.runs(ids)}
    wrong: list[tuple[StartedRun, str | None]] = []
    for run in page:
        if run.flow_run_id not in there:
            wrong.append((run, None if run.seen or run.erased else MISSING))
        elif there[run.flow_run_id] != _key(run):
            wrong.append((run, f"its run has the key {there[run.flow_run_id]}"))
    return wrong


async def _with_more_runs(
    prefect: PrefectApi, started: Sequence[StartedRun]
) -> list[tuple[StartedRun, str | None]]:
    """Return the dispatches under whose key Prefect has a run that is not theirs."""
    keys = [_key(run) for run in started]
    ids = [run.flow_run_id for run in started]
    if await prefect.count_runs(idempotency_keys=keys) <= await prefect.count_runs(
        ids=ids, idempotency_keys=keys
    ):
        return []
    by_key = {_key(run): run for run in started}
    wrong: list[tuple[StartedRun, str | None]] = []
    for other in await prefect.runs_by_key(keys):
        run = by_key.get(other.idempotency_key or "")
        if run is not None and run.flow_run_id != other.id:
            wrong.append((run, f"Prefect has another run under its key: {other.id}"))
    return wrong


def _key(run: StartedRun) -> str:
    return f"hookline:{run.dispatch_id}"
