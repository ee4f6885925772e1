"""A worker that starts while Prefect's server is away begins as soon as the server is there."""

from __future__ import annotations

import asyncio

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from hookline.worker import reaching
from tests.support.servers import free_port


async def test_it_waits_while_nobody_listens_and_returns_soon_after_the_server_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody listens at first; once somebody answers, one more question is enough."""
    monkeypatch.setattr(reaching, "ASK_SECONDS", 0.01)
    refused = asyncio.Event()
    monkeypatch.setattr(reaching.logger, "warning", lambda *_: refused.set())
    port = free_port()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\ntrue")
        await writer.drain()
        writer.close()

    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        waiting = asyncio.create_task(reaching.await_server())
        await asyncio.wait_for(refused.wait(), 20)
        assert not waiting.done()
        async with await asyncio.start_server(answer, "127.0.0.1", port):
            await asyncio.wait_for(waiting, 20)
