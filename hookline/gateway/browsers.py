"""What a browser might be made to do by a page elsewhere, refused. Pure.

A page that somebody has open can send requests to this machine. It cannot read the answers, but it could
start flows, and without keys being on this machine is all that is asked of a sender. So what changes
something must not come from another site's page; and without keys the gateway answers to this machine's own
names only, lest a page lets a name of its own resolve to it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from hookline.errors import Refusal
from hookline.settings import LOOPBACK, Settings
from hookline.sources import Headers

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Names:
    """The names by which this gateway is called, and those who may come by them.

    Parameters
    ----------
    settings: they tell its address.
    keyless: no API keys are set.
    """

    def __init__(self, settings: Settings, *, keyless: bool) -> None:
        self._public = urlsplit(settings.gateway_url).netloc.lower()
        self._keyless = keyless

    def check(self, method: str, headers: Headers) -> None:
        """Check a request to the API.

        Raises
        ------
        Refusal: 421, a name that is not this machine's leads here; 403, another site's page sent it.
        """
        if self._keyless:
            self._check_host(headers)
        if method not in SAFE_METHODS:
            self._check_origin(headers)

    def _check_host(self, headers: Headers) -> None:
        host = _text(headers.raw_value(b"host"))
        if host == self._public or is_loopback_name(host):
            return
        raise Refusal(
            421,
            "foreign-host",
            "Without API keys the gateway answers to this machine's own names only: use 127.0.0.1, or set"
            " HOOKLINE_URL to the name it has, and HOOKLINE_API_KEYS.",
        )

    def _check_origin(self, headers: Headers) -> None:
        site = headers.raw_value(b"sec-fetch-site")
        origin = headers.raw_value(b"origin")
        if site is None and origin is None:
            return  # not a browser
        if site is not None:
            ours = site in (b"same-origin", b"none")
        else:
            sender = _text(origin).partition("://")[2]
            ours = bool(sender) and sender in (_text(headers.raw_value(b"host")), self._public)
        if not ours:
            raise Refusal(403, "foreign-origin", "Another site's page sent this; pages may not send events.")


def is_loopback_name(host: str) -> bool:
    """Return whether a Host, port included, is a name of this machine alone."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in LOOPBACK or name.endswith(".localhost") or (name.startswith("127.") and _is_ipv4(name))


def _is_ipv4(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 4 and all(part.isascii() and part.isdigit() for part in parts)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1").lower()
