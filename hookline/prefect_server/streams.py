"""Event streams of Prefect's server under `up`: what goes to the same machine is not compressed.

Each subscriber and each sender of events would have each message deflated and inflated for it alone.
"""

from __future__ import annotations

import functools

import uvicorn


def send_as_it_is() -> None:
    """Let the server that is started next offer no compression of websocket messages."""
    uvicorn.run = functools.partial(uvicorn.run, ws_per_message_deflate=False)
