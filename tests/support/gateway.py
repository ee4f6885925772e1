"""The gateway in this process, on a real port, with an inbox of its own and a Prefect server that is away.

Events are accepted, recorded and matched as ever; what would start a run waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prefect.settings import PREFECT_API_URL, temporary_settings

from hookline.changes import Changes
from hookline.dispatch import Dispatcher
from hookline.errors import Refusal
from hookline.following import Follower
from hookline.gateway import House, create_app
from hookline.gateway.access import Access
from hookline.gateway.hub import Hub, Limits
from hookline.gateway.listening import listening
from hookline.gateway.rejecting import RejectionLog
from hookline.inbox import Inbox, StoredBody, StoredEvent
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings
from hookline.sources import Registry, Sources
from hookline.triggers import Trigger
from tests.support.servers import free_port


@dataclass(frozen=True)
class RunningGateway:
    """A gateway that answers.

    Parameters
    ----------
    house: its parts.
    hub: what its connections share.
    http: a client for it, without a key.
    """

    house: House
    hub: Hub
    http: httpx.AsyncClient

    @property
    def port(self) -> int:
        return self.hub.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stored(self, event_id: str) -> StoredEvent:
        """Return an event as the inbox keeps it."""
        event = await self.house.inbox.event(event_id)
        assert event is not None, f"event {event_id} is not in the inbox"
        return event

    async def body(self, event_id: str) -> StoredBody:
        """Return the bytes that the inbox keeps of an event."""
        body = await self.house.inbox.body(event_id)
        assert body is not None, f"the body of {event_id} is not in the inbox"
        return body

    async def rejections(self) -> list[dict[str, Any]]:
        """Return what was turned away, newest first, as `GET /rejections` tells it."""
        answer = await self.http.get("/rejections", headers={"Authorization": f"Bearer {KEY}"})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["rejections"])


#: A key that may do everything, for gateways that have keys.
KEY = "a-key-for-tests-that-may-do-everything"


@contextlib.asynccontextmanager
async def running_gateway(
    folder: Path,
    *,
    sources: str | Sources = "",
    environ: Mapping[str, str] | None = None,
    keys: Sequence[str] = (),
    triggers: Sequence[Trigger] = (),
    limits: Limits | None = None,
    **settings: Any,
) -> AsyncIterator[RunningGateway]:
    """Run a gateway until the end of the context.

    Parameters
    ----------
    folder: its data folder.
    sources: what its sources.yaml holds, or the sources themselves.
    environ: where the sources' secrets are looked up.
    keys: its API keys, as in HOOKLINE_API_KEYS.
    triggers: those in force.
    limits: of its connections.
    settings: further settings.
    """
    _write_sources(folder, sources if isinstance(sources, str) else "")
    given = {
        "data": folder, "sources": folder / "sources.yaml", "api_keys": tuple(keys), "port": 0, **settings,
    }  # fmt: skip
    chosen = Settings(_env_file=None, **given)  # type: ignore[call-arg] # pydantic's own
    changes = Changes()
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        async with Inbox.open(chosen.database_url, exclusive=True) as inbox, PrefectApi.open() as prefect:
            await inbox.save_trigger_set(triggers)
            dispatcher = Dispatcher(
                inbox,
                prefect,
                gateway_url=chosen.gateway_url,
                default_limit=10,
                changes=changes,
                on_started=lambda dispatch, event, run: None,
            )
            house = House(
                settings=chosen,
                inbox=inbox,
                prefect=prefect,
                registry=Registry.open(chosen.sources, environ or {})
                if isinstance(sources, str)
                else Registry(sources),
                access=Access.from_keys(keys),
                dispatcher=dispatcher,
                follower=Follower(inbox, prefect, changes=changes, on_finished=lambda news: None),
                changes=changes,
                rejections=RejectionLog(inbox),
                claim_secret=await inbox.shared_secret("claims"),
            )
            works = [
                asyncio.create_task(work) for work in (dispatcher.run(), house.rejections.write_for_ever())
            ]
            try:
                async with _listening(house, limits) as hub, _client(hub.port) as http:
                    yield RunningGateway(house, hub, http)
            finally:
                for work in works:
                    work.cancel()
                await asyncio.gather(*works, return_exceptions=True)


def _write_sources(folder: Path, sources: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sources.yaml").write_text(sources)


def _client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20)


def _listening(house: House, limits: Limits | None) -> contextlib.AbstractAsyncContextManager[Hub]:
    def refused(refusal: Refusal, remote: str) -> None:
        house.rejections.add(refusal, door="connection", remote=remote, size=0)

    return listening(create_app(house), "127.0.0.1", 0, on_refused=refused, limits=limits)
