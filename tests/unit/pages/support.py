"""What the tests of pages share: a house without a Prefect server, a browser for it, and a reader of HTML."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import orjson
from starlette.types import Message

from hookline.changes import Changes
from hookline.dispatch import Dispatcher
from hookline.errors import PrefectUnavailable
from hookline.event import BodyFormat, Draft, now
from hookline.following import Follower
from hookline.gateway import House, create_app
from hookline.gateway.access import Access
from hookline.gateway.rejecting import RejectionLog
from hookline.inbox import Dispatch, DispatchStatus, Inbox
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings
from hookline.sources import Registry, Sources, load_sources
from hookline.triggers import Trigger

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SECRET = "a secret that only github has"
SOURCES = """
sources:
  github: {recipe: github, secrets: ["${GITHUB_SECRET}"]}
  stripe: {recipe: stripe, secrets: ["${NOT_SET}"]}
"""


class _AwayServer:
    """A Prefect server that is away: it has addresses, and answers nothing."""

    ui_url = "http://prefect.example:4200"

    def run_url(self, flow_run_id: str) -> str:
        return f"{self.ui_url}/runs/flow-run/{flow_run_id}"

    def __getattr__(self, name: str) -> Any:
        async def call(*_: object, **__: object) -> None:
            raise PrefectUnavailable(f"{name}: away")

        return call


@contextlib.asynccontextmanager
async def open_house(folder: Path, *keys: str, url: str = "", database: str = "") -> AsyncIterator[House]:
    """Open a house that records and matches; Prefect is away, so that nothing is started."""
    settings = Settings(_env_file=None, data=folder, api_keys=keys, url=url, database=database)  # type: ignore[call-arg] # pydantic's own
    changes, prefect = Changes(), cast(PrefectApi, _AwayServer())
    async with Inbox.open(settings.database_url) as inbox:
        dispatcher = Dispatcher(
            inbox, prefect, gateway_url=settings.gateway_url, default_limit=10, changes=changes,
            on_started=lambda dispatch, event, run: None,
        )  # fmt: skip
        work = asyncio.create_task(dispatcher.run())
        house = House(
            settings=settings,
            inbox=inbox,
            prefect=prefect,
            registry=Registry(_sources()),
            access=Access.from_keys(keys),
            dispatcher=dispatcher,
            follower=Follower(inbox, prefect, changes=changes, on_finished=lambda deployment_id: None),
            changes=changes,
            rejections=RejectionLog(inbox),
            claim_secret=b"k" * 32,
        )
        try:
            yield house
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


def _sources() -> Sources:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sources.yaml"
        path.write_text(SOURCES)
        return load_sources(path, {"GITHUB_SECRET": SECRET})


async def accept(house: House, type: str = "shop.order", data: Any = None, **more: Any) -> str:
    """Accept an event and match it with the triggers in force; return its id."""
    draft: dict[str, Any] = {
        "door": "events/local", "source": "shop", "body_format": BodyFormat.JSON,
        "body": orjson.dumps(data), "content_type": "application/json", **more,
    }  # fmt: skip
    if not await house.dispatcher.trigger_sets.is_deployed():
        await deploy(house)
    recorded, _ = await house.inbox.record(Draft(type=type, data=data, **draft))
    event = await house.inbox.full_event(recorded.id)
    assert event is not None
    with house.changes.watch(recorded.id) as watch:
        house.dispatcher.offer(event)
        assert await watch.wait(timeout_seconds=5), "the event was not matched"
    return recorded.id


async def deploy(house: House, *triggers: Trigger) -> None:
    """Put triggers into force."""
    await house.inbox.save_trigger_set(triggers)


async def kill(
    house: House, event_id: str, reason: str = "Prefect answered 404: no such deployment"
) -> Dispatch:
    """Let the event's first pending dispatch give up; return it."""
    dispatch = next(d for d in await house.inbox.dispatches(event_id) if d.status is DispatchStatus.PENDING)
    await house.inbox.settle_dead(dispatch, reason=reason, response='{"detail": "gone"}', at=now())
    return dispatch


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def html(self) -> Markup:
        return Markup.of(self.text)

    def header(self, name: str) -> str | None:
        return next((value for each, value in self.headers if each.lower() == name), None)


@dataclass
class Browser:
    """A browser that keeps cookies and sends what browsers send with a form.

    Parameters
    ----------
    house: where it goes.
    host: the name by which it goes there.
    """

    house: House = field(repr=False)
    host: str = "127.0.0.1:4280"
    cookies: dict[str, str] = field(default_factory=dict)
    #: It does not wait for an answer that takes its time.
    leaves = True

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._send("GET", path, b"", headers)

    async def post(
        self, path: str, form: Mapping[str, str] | Sequence[tuple[str, str]], **headers: str
    ) -> Answer:
        sent = {
            "content_type": "application/x-www-form-urlencoded",
            "origin": f"http://{self.host}",
            "sec_fetch_site": "same-origin",
            **headers,
        }
        return await self._send("POST", path, urlencode(form).encode(), sent)

    async def submit(self, path: str, form: Mapping[str, str] | None = None, at: str = "/dead") -> Answer:
        """Send a form with the token that a page holds."""
        token = (await self.get(at)).html.token
        return await self.post(path, {"token": token, **(form or {})})

    async def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        given = {"host": self.host, "accept": HTML, **{k.replace("_", "-"): v for k, v in headers.items()}}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        parts = urlsplit(path)
        scope = {
            "type": "http", "method": method, "scheme": "http", "path": parts.path,
            "raw_path": parts.path.encode(), "query_string": parts.query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 4280),
        }  # fmt: skip
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if not messages and not self.leaves:
                await asyncio.Event().wait()
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        reply = await create_app(self.house)(scope, receive)
        for name, value in reply.headers:
            if name == "set-cookie":
                cookie, _, _ = value.partition(";")
                key, _, content = cookie.partition("=")
                self.cookies[key] = content
        return Answer(reply.status, reply.headers, reply.body)


@dataclass
class Markup(HTMLParser):
    """A page taken apart as a browser would: tags with their attributes, and text."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list, repr=False)
    texts: list[str] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        super().__init__()

    @classmethod
    def of(cls, text: str) -> Markup:
        markup = cls()
        markup.feed(text)
        markup.close()
        return markup

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    @property
    def token(self) -> str:
        return next(str(a["value"]) for _, a in self.tags if a.get("name") == "token")

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for each, attributes in self.tags if each == tag)
