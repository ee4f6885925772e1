"""The Prefect server that `up` starts, as somebody outside meets it."""

from __future__ import annotations

from websockets.asyncio.client import connect

from tests.support.servers import PrefectServer


async def test_events_are_not_compressed_on_their_way_to_the_same_machine(
    prefect_server: PrefectServer,
) -> None:
    """The client offers it, and the server does not take it up."""
    address = prefect_server.api_url.replace("http", "ws", 1) + "/events/out"
    async with connect(address) as socket:
        assert socket.response is not None
        assert socket.response.status_code == 101
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
