"""Whether a subscriber of Prefect's server has left is seen without keeping an event waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prefect.server.utilities import subscriptions
from starlette.websockets import WebSocket, WebSocketDisconnect

from hookline.prefect_server import streams


def a_websocket(*messages: Any) -> WebSocket:
    """Return one that has received some messages, of which the first is the connection, and then nothing."""
    waiting = list(messages)

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        return await asyncio.get_running_loop().create_future()

    async def send(_: Any) -> None:
        raise AssertionError("nothing is to be sent")

    return WebSocket({"type": "websocket"}, receive, send)


CONNECT = {"type": "websocket.connect"}
GOODBYE = {"type": "websocket.disconnect", "code": 1000}


async def test_one_that_says_nothing_is_there_and_no_event_waits_for_it() -> None:
    """Stock waits a tenth of a second."""
    websocket = a_websocket(CONNECT)
    await websocket.receive()
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(5):
        began = loop.time()
        assert await streams.still_connected(websocket)
        took.append(loop.time() - began)
    assert min(took) < 0.05


async def test_one_that_said_goodbye_is_gone_when_it_is_looked_for_again() -> None:
    """As with stock, the look that meets the goodbye itself still says that it is there."""
    answers = []
    for look in (subscriptions.still_connected, streams.still_connected):
        websocket = a_websocket(CONNECT, GOODBYE)
        await websocket.receive()
        answers.append([await look(websocket), await look(websocket)])
    assert answers == [[True, False], [True, False]]


async def test_one_whose_connection_broke_is_gone() -> None:
    class Broken(WebSocket):
        async def receive(self) -> Any:
            raise WebSocketDisconnect(1006)

    websocket = Broken({"type": "websocket"}, None, None)  # type: ignore[arg-type] # it is never asked
    assert not await streams.still_connected(websocket)


def test_it_takes_the_place_of_prefects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "still_connected", subscriptions.still_connected)
    streams.look_briefly()
    assert subscriptions.still_connected is streams.still_connected
