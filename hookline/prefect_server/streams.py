"""Event streams of Prefect's server under `up`: nothing is compressed, and nothing waits for a look.

On one machine each subscriber and each sender of events would have each message deflated and inflated for it
alone. And after each second without an event the server looks for a tenth of a second whether its subscriber
has left; an event that comes then waits for as long.
"""

from __future__ import annotations

import asyncio
import functools

import uvicorn
from prefect.server.utilities import subscriptions
from starlette.websockets import WebSocket

#: A goodbye that has come is there at once.
LOOK_SECONDS = 0.001


def send_as_it_is() -> None:
    """Let the server that is started next offer no compression of websocket messages."""
    uvicorn.run = functools.partial(uvicorn.run, ws_per_message_deflate=False)


def look_briefly() -> None:
    """Let no event wait while the server looks whether its subscriber is still there."""
    subscriptions.still_connected = still_connected


async def still_connected(websocket: WebSocket) -> bool:
    """Return whether a subscriber has not left, as Prefect's own function of this name does."""
    try:
        await asyncio.wait_for(websocket.receive(), timeout=LOOK_SECONDS)
    except TimeoutError:
        return True
    except (RuntimeError, *subscriptions.NORMAL_DISCONNECT_EXCEPTIONS):
        return False
    return True
