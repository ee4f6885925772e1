"""Who may do what: API keys and their scopes. Pure.

Keys come from HOOKLINE_API_KEYS, separated by spaces: `key` may do everything, `send:key`, `read:key` and
`admin:key` what their scope says, and `send@shop+crm:key` may send only as those sources. Only digests
are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from hookline.errors import Refusal, SettingsError
from hookline.sources import Headers

#: A shorter key could be guessed through a door that answers thousands of times a second.
SHORTEST_KEY = 16


class Scope(StrEnum):
    """What a key allows."""

    SEND = "send"
    READ = "read"
    ADMIN = "admin"


_EVERYTHING = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    Parameters
    ----------
    name: what the key is called in doors and logs; says nothing about the key.
    scopes: what it may do.
    sources: the names it may send as; None is any.
    """

    name: str
    scopes: frozenset[Scope]
    sources: frozenset[str] | None = None

    def require(self, scope: Scope) -> None:
        """Check that the caller may do something.

        Raises
        ------
        Refusal: 403.
        """
        if scope not in self.scopes:
            raise Refusal(403, "scope", f"This key does not allow {scope}; use one with the scope {scope}.")

    def require_source(self, source: str) -> None:
        """Check that the caller may send as a source.

        Raises
        ------
        Refusal: 403.
        """
        if self.sources is not None and source not in self.sources:
            raise Refusal(403, "scope", "This key may not send as that source.")


#: Without keys the gateway listens on loopback alone, and whoever is on the machine may do everything.
LOCAL = Caller("local", _EVERYTHING)


@dataclass(frozen=True, slots=True)
class Access:
    """The API keys, by digest."""

    callers: dict[bytes, Caller] = field(repr=False)

    @classmethod
    def from_keys(cls, keys: Iterable[str]) -> Access:
        """Read keys as written in HOOKLINE_API_KEYS.

        Raises
        ------
        SettingsError: an unknown scope, or a key that is too short.
        """
        callers: dict[bytes, Caller] = {}
        for position, written in enumerate(keys, start=1):
            caller, key = _read_key(written, position)
            digest = _digest(key)
            callers[digest] = (
                caller if caller.name else Caller(digest.hex()[:8], caller.scopes, caller.sources)
            )
        return cls(callers)

    def identify(self, headers: Headers, access_token: str | None = None) -> Caller:
        """Return who makes a request.

        Parameters
        ----------
        headers: `Authorization: Bearer <key>` is looked for.
        access_token: the query parameter of that name, which CloudEvents' webhooks may use.

        Raises
        ------
        Refusal: 401.
        """
        if not self.callers:
            return LOCAL
        key = _bearer(headers.raw_value(b"authorization")) or access_token
        if key is None:
            raise _unauthorized("No API key; send `Authorization: Bearer <key>`.")
        # Looked up by digest: how long that takes says nothing about the keys.
        caller = self.callers.get(_digest(key))
        if caller is None:
            raise _unauthorized("The API key is not known.")
        return caller


def _read_key(written: str, position: int) -> tuple[Caller, str]:
    prefix, colon, key = written.rpartition(":")
    if not colon:
        prefix, key = "", written
    scope, at, names = prefix.partition("@")
    if len(key) < SHORTEST_KEY:
        raise SettingsError(
            f"HOOKLINE_API_KEYS: key {position} is shorter than {SHORTEST_KEY} characters; make one with"
            " `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )
    if not scope:
        return Caller("", _EVERYTHING), key
    try:
        scopes = _EVERYTHING if scope == Scope.ADMIN else frozenset([Scope(scope)])
    except ValueError:
        raise SettingsError(
            f"HOOKLINE_API_KEYS: key {position} has the scope {scope!r}; write send, read or admin"
        ) from None
    return Caller("", scopes, frozenset(names.split("+")) if at else None), key


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _bearer(authorization: bytes | None) -> str | None:
    if authorization is None:
        return None
    scheme, _, credentials = authorization.partition(b" ")
    return credentials.strip().decode("latin-1") if scheme.lower() == b"bearer" else None


def _unauthorized(detail: str) -> Refusal:
    return Refusal(401, "unauthorized", detail, headers={"www-authenticate": "Bearer"})
