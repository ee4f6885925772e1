"""The judge of fault tests, outside the product: senders' logs, what flows wrote down, and Prefect's API.

It believes nothing that Hookline says of itself; at the end it says whether Hookline's own account agrees.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.prefect import PrefectHttp
from tests.support.sender import read_log

ACT = "fault.act"
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Acknowledged:
    """What senders were told: tracking ids by their own ids, and the type of each."""

    tracking_ids: dict[str, set[str]]
    kinds: dict[str, str]

    @classmethod
    def read(cls, logs: Iterable[Path]) -> Acknowledged:
        tracking_ids: dict[str, set[str]] = defaultdict(set)
        kinds: dict[str, str] = {}
        for log in logs:
            for source_id, tracking_id, kind in read_log(log):
                tracking_ids[source_id].add(tracking_id)
                kinds[source_id] = kind
        return cls(dict(tracking_ids), kinds)

    @property
    def all_ids(self) -> set[str]:
        """Every tracking id that a sender was given."""
        return {tracking_id for ids in self.tracking_ids.values() for tracking_id in ids}

    @property
    def acting(self) -> dict[str, str]:
        """The tracking ids of the events that must have started a run, with the sender's ids."""
        return {
            tracking_id: source_id
            for source_id, ids in self.tracking_ids.items()
            if self.kinds[source_id] == ACT
            for tracking_id in ids
        }


@dataclass(frozen=True)
class Verdict:
    """What the oracle found; nothing in any list is what a working build looks like.

    Parameters
    ----------
    acknowledged: how many events senders saw acknowledged.
    acting: how many of those had to start a run.
    lost: tracking ids that were acknowledged and are not in the inbox's table, with their body.
    idle: tracking ids that had to start a run and have none, or whose run wrote no line.
    doubled: tracking ids with more than one run, by the ledger or by Prefect.
    keys_doubled: idempotency keys that Prefect has more than one run for.
    split: senders' ids that were acknowledged under two tracking ids.
    unfinished: runs that are not COMPLETED.
    unasked: runs for events that no sender knows.
    """

    acknowledged: int
    acting: int
    runs: int
    again: int
    lost: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    keys_doubled: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not any(self.faults.values())

    @property
    def faults(self) -> dict[str, list[str]]:
        names = ("lost", "idle", "doubled", "keys_doubled", "split", "unfinished", "unasked")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        found = ", ".join(f"{name} {len(ids)}" for name, ids in self.faults.items())
        some = {name: ids[:5] for name, ids in self.faults.items() if ids}
        return (
            f"{self.acknowledged} acknowledged, {self.acting} of them with a run each to start,"
            f" {self.runs} runs in Prefect, {self.again} begun again after a kill: {found}"
            + (f"; such as {some}" if some else "")
        )


class Oracle:
    """Joins what the outside knows.

    Parameters
    ----------
    api: Prefect's API.
    ledger: the file that each flow run writes a line to.
    inbox: the inbox's file, of which nothing is believed but which rows are on the disk.
    """

    def __init__(self, api: str, ledger: Path, inbox: Path) -> None:
        self._prefect = PrefectHttp(api)
        self._ledger = ledger
        self._inbox = inbox

    def told(self, logs: Iterable[Path]) -> Acknowledged:
        """Return what senders were told so far."""
        return Acknowledged.read(logs)

    def is_at_rest(self, logs: Iterable[Path]) -> bool:
        """Return whether every run that must be there is, and all of those have ended, however."""
        runs = _by_event(self._prefect.runs())
        mine = [runs.get(event_id, []) for event_id in Acknowledged.read(logs).acting]
        return all(found and all(run["state_type"] in FINAL for run in found) for found in mine)

    def runs_of(self, logs: Iterable[Path]) -> int:
        """Return how many runs the acknowledged events have by now."""
        made = _by_event(self._prefect.runs())
        return sum(len(made.get(event_id, [])) for event_id in Acknowledged.read(logs).acting)

    def doubled(self, logs: Iterable[Path]) -> list[str]:
        """Return the tracking ids that have more than one run by now."""
        runs = _by_event(self._prefect.runs())
        return [event_id for event_id in Acknowledged.read(logs).acting if len(runs.get(event_id, [])) > 1]

    def _kept(self) -> set[str]:
        with contextlib.closing(sqlite3.connect(f"file:{self._inbox}?mode=ro", uri=True)) as database:
            return {row[0] for row in database.execute("SELECT id FROM events JOIN bodies ON event_id = id")}

    def judge(self, logs: Iterable[Path], *, prefix: str = "") -> Verdict:
        """Hold all accounts against each other.

        Parameters
        ----------
        logs: the senders'.
        prefix: with which the ids of these senders begin; runs of other events are left aside.
        """
        told = Acknowledged.read(logs)
        acting = told.acting
        wrote: dict[str, list[str]] = defaultdict(list)
        for line in self._ledger.read_text().splitlines() if self._ledger.exists() else []:
            event_id, run_id = line.split(" ")
            wrote[event_id].append(run_id)
        runs = self._prefect.runs()
        made = _by_event(runs)
        mine = {event_id: made.get(event_id, []) for event_id in acting}
        keys = Counter(run["idempotency_key"] for run in runs if run["idempotency_key"])
        return Verdict(
            acknowledged=len(told.tracking_ids),
            acting=len(acting),
            runs=sum(len(found) for found in mine.values()),
            again=sum(len(wrote[event_id]) - len(set(wrote[event_id])) for event_id in acting),
            lost=sorted(told.all_ids - self._kept()),
            idle=[e for e in acting if not mine[e] or not wrote[e]],
            doubled=[e for e in acting if len(mine[e]) > 1 or len(set(wrote[e])) > 1],
            keys_doubled=[key for key, number in keys.items() if number > 1],
            split=[source_id for source_id, ids in told.tracking_ids.items() if len(ids) > 1],
            unfinished=[r["id"] for found in mine.values() for r in found if r["state_type"] != "COMPLETED"],
            unasked=[] if prefix else sorted((set(made) | set(wrote)) - set(acting)),
        )


def _by_event(runs: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return runs by the event that their tag names."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        for tag in run["tags"]:
            if tag.startswith("event:"):
                found[tag.removeprefix("event:")].append(run)
    return dict(found)
