"""Fetching: nobody gets us to look into our own network, and nothing that is fetched hurts."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from hookline.sources.fetch import MAX_BYTES, FetchError, GuardedTransport, fetch, fetch_guarded


class Names:
    """A resolver that gives what it is told, and counts how often it is asked."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses."""
        self.asked += 1
        return self.addresses


def recording(seen: list[httpx.Request]) -> httpx.MockTransport:
    """Return a transport that takes down the requests which reach it."""

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"ok", headers={"Cache-Control": "public, max-age=60"})

    return httpx.MockTransport(answer)


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """The name is looked up once; the request goes to that address, and says and verifies the name."""
    seen: list[httpx.Request] = []
    names = Names(["93.184.215.14"])
    fetched = await fetch("https://keys.example.com/a?b=1", GuardedTransport(names, recording(seen)))
    assert (fetched.body, fetched.max_age_seconds) == (b"ok", 60.0)
    (request,) = seen
    assert str(request.url) == "https://93.184.215.14/a?b=1"
    assert request.headers["host"] == "keys.example.com"
    assert request.extensions["sni_hostname"] == "keys.example.com"
    assert names.asked == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.8"],
        ["192.168.1.1"],
        ["172.16.0.1"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["0.0.0.0"],  # noqa: S104 # an address to be refused
        ["224.0.0.1"],
        ["255.255.255.255"],
        ["::1"],
        ["::"],
        ["fe80::1%eth0"],
        ["fd00::1"],
        ["ff02::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["64:ff9b:1::7f00:1"],
        ["2002:7f00:1::"],
        ["::127.0.0.1"],
        ["93.184.215.14", "10.0.0.8"],
        [],
    ],
)
async def test_addresses_of_our_own_network_are_refused(addresses: list[str]) -> None:
    """One address that is not public is enough to refuse, and nothing is connected to."""
    seen: list[httpx.Request] = []
    with pytest.raises(FetchError):
        await fetch("https://keys.example.com/", GuardedTransport(Names(addresses), recording(seen)))
    assert seen == []


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://[::1]/", "https://localhost/", "https://0/"])
async def test_the_guard_holds_with_the_real_resolver(url: str) -> None:
    """Literal addresses and local names do not get by either."""
    with pytest.raises(FetchError):
        await fetch_guarded(url)


@pytest.mark.parametrize(
    "url", ["http://example.com/", "file:///etc/passwd", "", "https://", "https://\x00/"]
)
async def test_other_addresses_are_refused(url: str) -> None:
    """Only https addresses that can be read are fetched."""
    with pytest.raises(FetchError):
        await fetch_guarded(url)


async def test_redirects_errors_and_floods_are_refused(httpserver: HTTPServer) -> None:
    """A redirect is not followed, an error is no answer, and too much is cut off."""
    plain = httpx.AsyncHTTPTransport()
    httpserver.expect_request("/good").respond_with_data("key")
    httpserver.expect_request("/moved").respond_with_response(
        Response(status=302, headers={"Location": httpserver.url_for("/good")})
    )
    httpserver.expect_request("/flood").respond_with_data("x" * (MAX_BYTES + 1))
    fetched = await fetch(httpserver.url_for("/good"), plain)
    assert (fetched.body, fetched.max_age_seconds) == (b"key", 0.0)
    for path in ("/moved", "/none", "/flood"):
        with pytest.raises(FetchError) as wrong:
            await fetch(httpserver.url_for(f"{path}?token=hunter2"), httpx.AsyncHTTPTransport())
        assert "hunter2" not in str(wrong.value)
