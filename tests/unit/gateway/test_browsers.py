"""What a page on another site might make a browser do is refused; programs are left alone."""

from __future__ import annotations

from typing import Any

import pytest

from hookline.errors import Refusal
from hookline.gateway.browsers import Names, is_loopback_name
from hookline.settings import Settings
from hookline.sources import Headers


def names(*, keyless: bool = True, **settings: Any) -> Names:
    return Names(Settings(_env_file=None, **settings), keyless=keyless)  # type: ignore[call-arg] # pydantic's own


def check(made: Names, method: str = "POST", **headers: str) -> None:
    given = {"host": "127.0.0.1:4280", **{name.replace("_", "-"): value for name, value in headers.items()}}
    made.check(method, Headers.of(given))


def test_a_program_may_send() -> None:
    """No browser, no Origin."""
    check(names())


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site", "origin": "https://evil.example"},
        {"sec_fetch_site": "same-site", "origin": "http://localhost:3000"},
        {"sec_fetch_site": "cross-site"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://[::1"},
        {"origin": "http://127.0.0.1:4280@evil.example"},
    ],
    ids=str,
)
def test_another_sites_page_may_not_change_anything(headers: dict[str, str]) -> None:
    """With keys or without: a key may lie in a cookie or in the browser's memory."""
    for keyless in (True, False):
        with pytest.raises(Refusal) as refused:
            check(names(keyless=keyless), **headers)
        assert (refused.value.status, refused.value.reason) == (403, "foreign-origin")
        check(names(keyless=keyless), "GET", **headers)  # it cannot read the answer


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:4280"},
        {"sec_fetch_site": "none"},
        {"origin": "http://127.0.0.1:4280"},
        {"origin": "https://hooks.example.com"},
    ],
    ids=str,
)
def test_our_own_pages_may(headers: dict[str, str]) -> None:
    """By the name in the address bar or by the public one."""
    check(names(url="https://hooks.example.com"), **headers)


@pytest.mark.parametrize("host", ["evil.example:4280", "127.0.0.1.evil.example", "", "192.168.1.7:4280", "["])
def test_without_keys_a_foreign_name_leads_nowhere(host: str) -> None:
    """A page can let its own name resolve to this machine, and a tunnel can lead here from anywhere."""
    for method in ("GET", "POST"):
        with pytest.raises(Refusal) as refused:
            check(names(), method, host=host)
        assert (refused.value.status, refused.value.reason) == (421, "foreign-host")
    check(names(keyless=False), "GET", host=host)


def test_the_public_name_is_one_of_ours() -> None:
    """HOOKLINE_URL says how others call this gateway."""
    check(names(url="http://dev.internal:8080"), host="dev.internal:8080")


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True), ("LOCALHOST:1", True), ("a.localhost:4280", True), ("127.0.0.1", True),
        ("127.8.9.10:4280", True), ("[::1]:4280", True), ("127.0.0.1.example", False), ("127.evil", False),
        ("localhost.example", False), ("10.0.0.1", False),
    ],
)  # fmt: skip
def test_names_of_this_machine_alone(host: str, ours: bool) -> None:
    """The loopback's addresses and names."""
    assert is_loopback_name(host.lower()) is ours
