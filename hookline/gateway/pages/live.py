"""Staying up to date: a page's live part is asked for again and again, and answered once it has changed."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable

from hookline.changes import Changes
from hookline.gateway.exchange import Exchange
from hookline.gateway.pages.rendering import page_reply
from hookline.sources import Reply

#: The header with which the script asks for the live part of a page alone.
PART = "hookline-part"
LONGEST_WAIT_SECONDS = 20.0
#: Without news the page is looked at again after so long: other gateways may have made some.
LOOK_AGAIN_SECONDS = 3.0
#: A page is not brought up to date more often than this, however much happens.
REST_SECONDS = 1.0

_WAIT = re.compile(r"\bwait=(\d{1,4})\b")
#: How long ago a time was changes by itself; that is no news.
_AGO = re.compile(r'(<time class="ago"[^>]*>)[^<]*')


def asks_for_part(exchange: Exchange) -> bool:
    """Return whether the live part alone is asked for."""
    return exchange.headers.get(PART) == "live"


async def answer_when_changed(
    changes: Changes, event_id: str, exchange: Exchange, render: Callable[[], Awaitable[str]]
) -> Reply:
    """Return the live part once it differs from what the asker has; 304 if it does not in time.

    Parameters
    ----------
    changes: news of events.
    event_id: the one event that the page is about, or "" for one about many.
    exchange: `If-None-Match` names what the asker has, `Prefer: wait=20` says how many seconds it waits.
    render: gives the part as it is now.
    """
    known = exchange.headers.get("if-none-match")
    clock = asyncio.get_running_loop().time
    deadline = clock() + _wait_seconds(exchange)
    leaving = asyncio.ensure_future(_gone(exchange))
    rest_seconds = 0.0 if known is None else REST_SECONDS
    try:
        with changes.watch(event_id) as watch:
            while True:
                await asyncio.sleep(min(rest_seconds, max(deadline - clock(), 0.0)))
                html = await render()
                etag = _etag(html)
                if etag != known:
                    return page_reply(html, headers=(("etag", etag),))
                left = deadline - clock()
                if left <= 0 or leaving.done():
                    return Reply(304, (("etag", etag), ("cache-control", "no-store")))
                rest_seconds = REST_SECONDS if await watch.wait(min(left, LOOK_AGAIN_SECONDS)) else 0.0
    finally:
        leaving.cancel()


async def _gone(exchange: Exchange) -> None:
    while (await exchange.receive())["type"] != "http.disconnect":
        pass


def _etag(html: str) -> str:
    said = _AGO.sub(r"\1", html)
    return f'"{hashlib.sha256(said.encode()).hexdigest()[:24]}"'


def _wait_seconds(exchange: Exchange) -> float:
    found = _WAIT.search(exchange.headers.get("prefer") or "")
    return min(float(found[1]), LONGEST_WAIT_SECONDS) if found else 0.0
