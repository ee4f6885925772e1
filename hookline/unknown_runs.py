"""The audit from Prefect's side: each run with our key or tag has its dispatch in the inbox.

Runs of other inboxes in the same Prefect are told apart by the tag `inbox:<identity>`, and runs of before
that tag by the events that they name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hookline.event import now
from hookline.inbox import Inbox
from hookline.inbox.judging import ForeignRun, Standing, forgotten_through, judge
from hookline.inbox.rules import NAMED
from hookline.prefect_api import PrefectApi, RunInfo, Tagged
from hookline.stamps import inbox_tag

#: Prefect cannot be asked for tags or keys that begin with something. Up to so many tagged runs are all read,
#: to find those of before the inbox's tag, and those that somebody made by hand.
LISTED = 20_000
_KEY = re.compile(r"hookline:([0-9a-f-]{36})")


@dataclass(frozen=True, slots=True)
class Unknown:
    """A run with our key or tag that has no dispatch."""

    flow_run_id: str
    reason: str


@dataclass(slots=True)
class UnknownRuns:
    """What Prefect has, and the inbox does not account for.

    Parameters
    ----------
    runs: the first `NAMED` of those that are wrong.
    count: how many those are.
    newer: runs of events or dispatches that this inbox never had, and that are its own: Prefect is newer.
    newer_since, newer_until: from when to when those were accepted.
    forgotten: runs of events that retention has taken; no fault.
    not_looked_at: runs without the inbox's tag, where there are too many to be read.
    """

    runs: list[Unknown] = field(default_factory=list)
    count: int = 0
    newer: int = 0
    newer_since: datetime | None = None
    newer_until: datetime | None = None
    forgotten: int = 0
    not_looked_at: int = 0


class Search:
    """One look at what Prefect has; `until` leaves out what comes while it goes on."""

    def __init__(self, inbox: Inbox, prefect: PrefectApi, identity: str) -> None:
        self.found = UnknownRuns()
        self._inbox = inbox
        self._prefect = prefect
        self._tag = inbox_tag(identity)
        self._until = now()
        self._judged: set[str] = set()
        self._known = 0
        self._since = self._until

    async def begin(self) -> None:
        """Look where retention is."""
        self._since = await self._inbox.read(forgotten_through)

    async def known(self, run_ids: Sequence[str]) -> None:
        """Count those of the runs of started dispatches that have the inbox's tag."""
        self._known += await self._prefect.count_runs(ids=run_ids, tagged=self._ours())

    async def end(self) -> UnknownRuns:
        """Look for runs with the inbox's tag, or an event's, beside those that are known."""
        tagged = self._ours()
        surplus = await self._prefect.count_runs(tagged=tagged) - self._known
        if surplus > 0:
            await self._judge(tagged, surplus)
        anybodys = Tagged(None, self._since, self._until)
        total = await self._prefect.count_runs(tagged=anybodys)
        others = total - await self._prefect.count_runs(tagged=tagged)
        if others > 0 and total <= LISTED:
            await self._judge(anybodys, total)
        elif others > 0:
            self.found.not_looked_at = others
        return self.found

    def _ours(self) -> Tagged:
        return Tagged([self._tag], self._since, self._until)

    async def _judge(self, tagged: Tagged, surplus: int) -> None:
        """Read the runs until all that are too many have been seen."""
        async for page in self._prefect.tagged_runs(tagged):
            runs = [run for run in page if run.id not in self._judged]
            surplus -= await self._judge_page(runs)
            if surplus <= 0:
                return

    async def _judge_page(self, runs: Sequence[RunInfo]) -> int:
        """Return how many of these have no dispatch."""
        strange = 0
        foreign = [_foreign(run, self._tag) for run in runs]
        for judgement in await self._inbox.read(lambda connection: judge(connection, foreign)):
            run_id = judgement.run.id
            if judgement.standing in (Standing.OURS, Standing.ELSEWHERE):
                continue
            strange += 1
            self._judged.add(run_id)
            if judgement.standing is Standing.FORGOTTEN:
                self.found.forgotten += 1
            elif judgement.standing is Standing.NEWER and judgement.at is not None:
                self.found.newer += 1
                at = judgement.at
                self.found.newer_since = min(self.found.newer_since or at, at)
                self.found.newer_until = max(self.found.newer_until or at, at)
            else:
                self.found.count += 1
                if len(self.found.runs) < NAMED:
                    self.found.runs.append(Unknown(run_id, judgement.reason))
        return strange


def _foreign(run: RunInfo, tag: str) -> ForeignRun:
    key = _KEY.fullmatch(run.idempotency_key or "")
    event_ids = tuple(tag.removeprefix("event:") for tag in run.tags if tag.startswith("event:"))
    return ForeignRun(run.id, None if key is None else key[1], event_ids, tag in run.tags)
