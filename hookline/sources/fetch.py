"""Fetching what a provider publishes (keys, confirmations) without being sent into our own network.

An address that a stranger names is resolved once, every answer is checked, and the connection goes to the
address that was checked: a second look-up could give another one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import httpx

from hookline.addresses import is_public, pinned
from hookline.errors import HooklineError

MAX_BYTES = 262_144
_TIMEOUT_SECONDS = 5.0


class FetchError(HooklineError):
    """Something could not be fetched; says why, without the address's query."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched.

    Parameters
    ----------
    body: the bytes.
    max_age_seconds: how long the sender allows it to be kept; 0 where it does not say.
    """

    body: bytes
    max_age_seconds: float = 0.0


Fetch = Callable[[str], Awaitable[Fetched]]
Resolve = Callable[[str, int], Awaitable[Iterable[str]]]


async def fetch_guarded(url: str) -> Fetched:
    """Fetch an https address on the public internet.

    Parameters
    ----------
    url: the address; redirects are not followed.

    Raises
    ------
    FetchError: it is not public, does not answer 200 in time, or answers too much.
    """
    if not url.startswith("https://"):
        raise FetchError("Only https addresses are fetched.")
    return await fetch(url, GuardedTransport())


async def fetch(url: str, transport: httpx.AsyncBaseTransport) -> Fetched:
    """Fetch an address through a transport.

    Parameters
    ----------
    url: the address; redirects are not followed.
    transport: how to get there.

    Raises
    ------
    FetchError: it cannot be reached, does not answer 200 in time, or answers too much.
    """
    try:
        async with (
            asyncio.timeout(_TIMEOUT_SECONDS),
            # trust_env off: a proxy of the environment would resolve the name again.
            httpx.AsyncClient(transport=transport, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != 200:
                raise FetchError(f"{_place(url)} answered {response.status_code}.")
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise FetchError(f"{_place(url)} answered more than {MAX_BYTES} bytes.")
            return Fetched(body, _max_age(response.headers.get("cache-control", "")))
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError) as wrong:
        raise FetchError(f"{_place(url)} could not be fetched: {type(wrong).__name__}.") from wrong


class GuardedTransport(httpx.AsyncBaseTransport):
    """An httpx transport that connects to public addresses only, and to none that it has not checked.

    Parameters
    ----------
    resolve: gives the addresses of a host and port.
    inner: makes the connection.
    """

    def __init__(self, resolve: Resolve | None = None, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._resolve = resolve or _look_up
        self._inner = inner or httpx.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the checked address of its host.

        Raises
        ------
        FetchError: an address of the host is not public.
        """
        host = request.url.host
        addresses = list(await self._resolve(host, request.url.port or 443))
        if not addresses:
            raise FetchError(f"{host} has no address.")
        for address in addresses:
            if not is_public(address):
                raise FetchError(f"{host} leads to {address}, which is not on the public internet.")
        return await self._inner.handle_async_request(pinned(request, addresses[0]))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


async def _look_up(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(each[4][0]) for each in found]


def _max_age(cache_control: str) -> float:
    for part in cache_control.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "max-age" and value.isascii() and value.isdigit():
            return min(float(value[:9]), 86_400.0)
    return 0.0


def _place(url: str) -> str:
    return url.split("?", 1)[0]
