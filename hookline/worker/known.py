"""What the worker knows of its pool without asking: kept while Prefect's events tell of every change."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import WorkQueueFilter
from prefect.client.schemas.objects import Flow, WorkPool, WorkQueue
from prefect.client.schemas.responses import DeploymentResponse

#: For how long is kept what no event tells of: a flow's name and tags, the default result storage.
_UNTOLD_SECONDS = 30.0
_PAGE = 200


class Known:
    """A cache of what rarely changes, right because it forgets on events, and off while there are none.

    Parameters
    ----------
    client: returns the worker's client.
    pool_name: the worker's pool.
    """

    def __init__(self, client: Callable[[], PrefectClient], pool_name: str) -> None:
        self._client = client
        self._pool_name = pool_name
        self._told: dict[str, Any] = {}
        self._untold: dict[str, tuple[float, Any]] = {}
        self._live = False

    @property
    def live(self) -> bool:
        """Whether events arrive, and with them the changes."""
        return self._live

    @live.setter
    def live(self, live: bool) -> None:
        self._live = live
        self._told.clear()

    def forget(self, resource_id: str) -> None:
        """Forget what an event says has changed, such as `prefect.deployment.<id>`."""
        kind = resource_id.split(".")[1]
        if kind == "deployment":
            self._told.pop(resource_id, None)
        else:
            self._told.pop("pool", None)
            self._told.pop("queues", None)

    async def deployment(self, deployment_id: UUID) -> DeploymentResponse:
        """Return a deployment; raises `ObjectNotFound` when it is gone."""
        deployment: DeploymentResponse = await self._keep(
            f"prefect.deployment.{deployment_id}", lambda: self._client().read_deployment(deployment_id)
        )
        return deployment

    async def pool(self) -> WorkPool:
        """Return the pool, with its limit and whether it is paused."""
        pool: WorkPool = await self._keep("pool", lambda: self._client().read_work_pool(self._pool_name))
        return pool

    async def queues(self) -> dict[UUID, WorkQueue]:
        """Return the pool's queues by id, with their limits, priorities and whether they are paused."""
        queues: dict[UUID, WorkQueue] = await self._keep("queues", self._read_queues)
        return queues

    async def flow(self, flow_id: UUID) -> Flow:
        """Return a flow."""
        flow: Flow = await self._keep_for_a_while(
            f"flow.{flow_id}", lambda: self._client().read_flow(flow_id)
        )
        return flow

    async def default_result_storage(self) -> UUID | None:
        """Return the id of the block that the server names for results, if it names one."""
        block_id: UUID | None = await self._keep_for_a_while("storage", self._read_storage)
        return block_id

    async def _read_queues(self) -> dict[UUID, WorkQueue]:
        queues: dict[UUID, WorkQueue] = {}
        while True:
            page = await self._client().read_work_queues(
                self._pool_name, work_queue_filter=WorkQueueFilter(), limit=_PAGE, offset=len(queues)
            )
            queues |= {queue.id: queue for queue in page}
            if len(page) < _PAGE:
                return queues

    async def _read_storage(self) -> UUID | None:
        return (await self._client().read_server_default_result_storage()).default_result_storage_block_id

    async def _keep(self, name: str, read: Callable[[], Awaitable[Any]]) -> Any:
        if name in self._told:
            return self._told[name]
        value = await read()
        if self._live:
            self._told[name] = value
        return value

    async def _keep_for_a_while(self, name: str, read: Callable[[], Awaitable[Any]]) -> Any:
        kept = self._untold.get(name)
        if kept is not None and time.monotonic() - kept[0] < _UNTOLD_SECONDS:
            return kept[1]
        value = await read()
        self._untold[name] = (time.monotonic(), value)
        return value
