"""Who looks at the pages, and whether what their browser sends was really meant by them.

With API keys configured a visitor signs in with one. The cookie holds no key: it is an expiry and a
signature over it and the key's digest, so it ends with the key. Actions are forms; each carries a token that
belongs to the visitor's own cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qs

from hookline.errors import Refusal
from hookline.gateway.access import LOCAL, Caller, Scope
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.reading import Proxies, read_body, sender_url
from hookline.sources import Headers

SESSION = timedelta(hours=12)
#: A form of ours is small; the largest holds the body of a test event.
FORM_BYTES = 262_144
FORM_FIELDS = 1_000

#: The field of a form that holds its token.
TOKEN_FIELD = "token"  # noqa: S105 (a field's name)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who looks at a page.

    Parameters
    ----------
    caller: who it is, or None for somebody who has to sign in first.
    token: what the forms of the page carry.
    signed_in: a session cookie says who it is, which signing out ends.
    cookies: cookies to be set with the page.
    """

    caller: Caller | None
    token: str
    signed_in: bool = False
    cookies: tuple[str, ...] = ()

    def allows(self, scope: Scope) -> bool:
        """Return whether the visitor may do something."""
        return self.caller is not None and scope in self.caller.scopes


def visit(house: House, exchange: Exchange) -> Visitor:
    """Return who makes a request with a browser.

    Raises
    ------
    Refusal: 401, an API key that is not known.
    """
    jar = _Jar(house, exchange)
    mark = jar.read("visit")
    cookies: tuple[str, ...] = ()
    if mark is None or len(mark) != 32:
        mark = secrets.token_hex(16)
        cookies = (jar.write("visit", mark, SESSION, strict=False),)
    caller, signed_in = _identify(house, exchange, jar)
    return Visitor(caller, _sign(house, "form", mark), signed_in, cookies)


def _identify(house: House, exchange: Exchange, jar: _Jar) -> tuple[Caller | None, bool]:
    if not house.access.callers:
        return LOCAL, False
    session = jar.read("session")
    if session is not None and (caller := _of_session(house, session)) is not None:
        return caller, True
    if "authorization" in exchange.headers:
        return exchange.caller(house), False
    return None, False


# Signing in and out ----------------------------------------------------------------------------------


def sign_in(house: House, exchange: Exchange, key: str) -> tuple[str, ...]:
    """Return the cookies of a visitor who showed an API key.

    Raises
    ------
    Refusal: 401, the key is not known.
    """
    shown = Headers([(b"authorization", b"Bearer " + key.encode("utf-8", "surrogateescape"))])
    caller = house.access.identify(shown)
    digest = next(digest for digest, known in house.access.callers.items() if known is caller)
    head = f"{int(time.time() + SESSION.total_seconds())}.{secrets.token_hex(16)}"
    jar = _Jar(house, exchange)
    # A new mark as well: a token from before signing in is worth nothing after it.
    return (
        jar.write("session", f"{head}.{_sign_session(house, head, digest)}", SESSION),
        jar.write("visit", secrets.token_hex(16), SESSION, strict=False),
    )


def sign_out(house: House, exchange: Exchange) -> tuple[str, ...]:
    """Return the cookies that end a visitor's session."""
    jar = _Jar(house, exchange)
    return (jar.write("session", "", timedelta(0)), jar.write("visit", "", timedelta(0)))


def _of_session(house: House, session: str) -> Caller | None:
    head, _, signature = session.rpartition(".")
    expires = head.partition(".")[0]
    # Thousands of digits are no time, and more than `int` takes.
    if not (expires.isascii() and expires.isdigit() and len(expires) < 12) or int(expires) < time.time():
        return None
    for digest, caller in house.access.callers.items():
        if hmac.compare_digest(_sign_session(house, head, digest).encode(), signature.encode()):
            return caller
    return None


def _sign_session(house: House, head: str, digest: bytes) -> str:
    return _sign(house, "session", f"{head}.{digest.hex()}")


# Actions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form that was really sent from a page of ours."""

    fields: dict[str, list[str]]

    def one(self, name: str) -> str:
        """Return a field's first value, or ""."""
        return self.fields.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        """Return all values of a field."""
        return self.fields.get(name, [])


async def read_form(exchange: Exchange, visitor: Visitor) -> Form:
    """Return the form that a visitor sent. That no other site's page sent it was checked before.

    Raises
    ------
    Refusal: 403, it has no token of the visitor; 413, 415.
    """
    if exchange.headers.media_type != "application/x-www-form-urlencoded":
        raise Refusal(415, "not-a-form", "This endpoint accepts forms only; use the API instead, see /docs.")
    body = await read_body(exchange.headers, exchange.receive, FORM_BYTES)
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FORM_FIELDS)
    except ValueError:
        raise Refusal(413, "too-large", f"The form has more than {FORM_FIELDS} fields.") from None
    form = Form(fields)
    given = form.one(TOKEN_FIELD).encode("utf-8", "replace")
    if not hmac.compare_digest(given, visitor.token.encode()):
        raise Refusal(
            403,
            "stale-form",
            "This form has expired or belongs to another session; reload the page and try again.",
        )
    return form


# Cookies ---------------------------------------------------------------------------------------------


class _Jar:
    """The cookies of one request. Their names hold a mark of this inbox: cookies know no ports."""

    def __init__(self, house: House, exchange: Exchange) -> None:
        self._prefix = f"hookline-{_sign(house, 'cookies', '')[:8]}-"
        self._secure = _is_https(house, exchange)
        self._given: dict[str, str] = {}
        for part in (exchange.headers.get("cookie") or "").split(";"):
            name, _, value = part.strip().partition("=")
            self._given.setdefault(name, value)

    def read(self, name: str) -> str | None:
        return self._given.get(self._prefix + name) or None

    def write(self, name: str, value: str, lasts: timedelta, *, strict: bool = True) -> str:
        parts = [
            f"{self._prefix}{name}={value}",
            "Path=/",
            f"Max-Age={int(lasts.total_seconds())}",
            "HttpOnly",
            # The visit's mark allows nothing. It comes along when somebody follows a link of Prefect's UI,
            # so that the page then opened does not take the forms of other open pages out of force.
            f"SameSite={'Strict' if strict else 'Lax'}",
        ]
        return "; ".join([*parts, "Secure"] if self._secure else parts)


def _is_https(house: House, exchange: Exchange) -> bool:
    came_by = sender_url(exchange.scope, exchange.headers, Proxies(house.settings.trusted_proxies))
    return came_by.startswith("https:") or house.settings.gateway_url.startswith("https:")


def _sign(house: House, purpose: str, text: str) -> str:
    return hmac.new(house.claim_secret, f"pages {purpose} {text}".encode(), hashlib.sha256).hexdigest()
