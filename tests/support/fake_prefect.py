"""A Prefect server in memory, for tests of the dispatcher that need no server's behaviour but its answers.

It keeps what the real one keeps: one run for each idempotency key, the states of runs, and their counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from hookline.errors import PrefectRefused, PrefectUnavailable
from hookline.inbox.records import TERMINAL_STATES
from hookline.prefect_api import DeploymentInfo, NewRun, PoolInfo, RunInfo, RunNotice, Tagged


@dataclass
class FakePrefect:
    """What the dispatcher and the follower ask of `PrefectApi`, answered from memory.

    Parameters
    ----------
    clock: gives the time.
    pools: limits by work pool.
    pool_of: the work pool of each deployment that there is, by `flow/deployment`.
    is_away: nothing is answered.
    refuses: returns an error for a run that is to be created, or None.
    answer_lost: the next creation happens, and its answer does not arrive.
    schema: of every flow's parameters, enforced, if there is one.
    """

    clock: Callable[[], datetime]
    pools: dict[str, int | None] = field(default_factory=dict)
    pool_of: dict[str, str | None] = field(default_factory=dict)
    is_away: bool = False
    refuses: Callable[[NewRun], Exception | None] = lambda _: None
    answer_lost: bool = False
    schema: dict[str, Any] | None = None
    created: list[RunInfo] = field(default_factory=list)
    news: list[NewRun] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    _by_key: dict[str, RunInfo] = field(default_factory=dict)
    _due: dict[str, datetime] = field(default_factory=dict)

    def runs_of(self, lane: str) -> list[RunInfo]:
        """Return the runs of a deployment in order of their creation."""
        return [self._by_key[run.idempotency_key or ""] for run in self.created if run.deployment_id == lane]

    def run(self, run_id: str) -> RunInfo:
        """Return a run as it is now."""
        return next(run for run in self._by_key.values() if run.id == run_id)

    def set_state(self, run_id: str, state: str) -> None:
        """Bring a run into a state."""
        run = self.run(run_id)
        moment = self.clock()
        self._by_key[run.idempotency_key or ""] = replace(
            run,
            state=state,
            state_at=moment,
            started=run.started or (moment if state == "RUNNING" else None),
            finished=moment if state in TERMINAL_STATES else None,
        )

    def finish_all(self, state: str = "COMPLETED") -> None:
        """Bring all unfinished runs to an end."""
        for run in list(self._by_key.values()):
            if run.state not in TERMINAL_STATES:
                self.set_state(run.id, state)

    def delete(self, run_id: str) -> None:
        """Delete a run, as somebody does in the UI."""
        self._by_key = {key: run for key, run in self._by_key.items() if run.id != run_id}

    # What PrefectApi has --------------------------------------------------------------------------

    def _answer(self, call: str) -> None:
        self.calls.append(call)
        if self.is_away:
            raise PrefectUnavailable("Prefect does not answer: ConnectError")

    async def deployment(self, lane: str) -> DeploymentInfo:
        self._answer("deployment")
        if lane not in self.pool_of:
            raise PrefectRefused("Prefect answered 404: Deployment not found", 404, "Deployment not found")
        flow, _, name = lane.partition("/")
        schema = self.schema or {}
        return DeploymentInfo(
            lane, name, flow, self.pool_of[lane], False, schema, {"n": 1}, (), enforces_schema=bool(schema)
        )

    async def pool(self, work_pool: str) -> PoolInfo:
        self._answer("pool")
        return PoolInfo(work_pool, "process", self.pools.get(work_pool), False, "READY")

    async def pool_limit(self, work_pool: str) -> int | None:
        return (await self.pool(work_pool)).limit

    async def outstanding(self, *, deployment_id: str | None = None, work_pool: str | None = None) -> int:
        self._answer("outstanding")
        return sum(
            run.state not in TERMINAL_STATES
            and self._due.get(key, self.clock()) <= self.clock()
            and (deployment_id is None or run.deployment_id == deployment_id)
            and (work_pool is None or self.pool_of.get(run.deployment_id or "") == work_pool)
            for key, run in self._by_key.items()
        )

    async def create_run(self, new: NewRun) -> RunInfo:
        self._answer("create_run")
        new.to_json()
        if (error := self.refuses(new)) is not None:
            raise error
        run = self._by_key.get(new.idempotency_key)
        if run is None:
            run = self._by_key[new.idempotency_key] = self._new(new)
            self._due[new.idempotency_key] = new.scheduled or self.clock()
            self.created.append(run)
            self.news.append(new)
        if self.answer_lost:
            self.answer_lost = False
            raise PrefectUnavailable("Prefect does not answer: ReadTimeout")
        return run

    def _new(self, new: NewRun) -> RunInfo:
        return RunInfo(
            id=f"run-{len(self.created)}",
            name=new.name,
            deployment_id=new.deployment_id,
            state="SCHEDULED",
            created=self.clock(),
            state_at=self.clock(),
            started=None,
            finished=None,
            idempotency_key=new.idempotency_key,
            tags=tuple(new.tags),
        )

    async def runs(self, flow_run_ids: Sequence[str], *, finished_only: bool = False) -> list[RunInfo]:
        self._answer("runs")
        return [
            run
            for run in self._by_key.values()
            if run.id in flow_run_ids and (not finished_only or run.state in TERMINAL_STATES)
        ]

    async def count_runs(
        self,
        *,
        ids: Sequence[str] | None = None,
        idempotency_keys: Sequence[str] | None = None,
        tagged: Tagged | None = None,
    ) -> int:
        self._answer("count_runs")
        return sum(
            (ids is None or run.id in ids)
            and (idempotency_keys is None or key in idempotency_keys)
            and (tagged is None or _has_tag(run, tagged))
            for key, run in self._by_key.items()
        )

    async def tagged_runs(self, tagged: Tagged) -> AsyncIterator[list[RunInfo]]:
        self._answer("tagged_runs")
        yield [run for run in self._by_key.values() if _has_tag(run, tagged)]

    async def runs_by_key(self, idempotency_keys: Sequence[str]) -> list[RunInfo]:
        self._answer("runs_by_key")
        return [run for key, run in self._by_key.items() if key in idempotency_keys]

    async def first_task(self, flow_run_id: str) -> datetime | None:
        self._answer("first_task")
        return self.run(flow_run_id).started

    async def notices(self) -> AsyncIterator[RunNotice]:
        """Prefect's event stream is blocked here; asking is enough."""
        await asyncio.Event().wait()
        yield RunNotice("", "", self.clock())

    async def emit(self, events: Sequence[Any]) -> None:
        self._answer("emit")


def _has_tag(run: RunInfo, tagged: Tagged) -> bool:
    return bool(run.tags) if tagged.tags is None else bool(set(tagged.tags) & set(run.tags))
