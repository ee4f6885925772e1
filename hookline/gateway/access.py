"""Who may do what: API keys and their scopes. Pure.

Keys come from HOOKLINE_API_KEYS, separated by spaces, each as `[[name/]scope[@source+source]:]key`: `key`
alone may do everything, `send:key`, `read:key` and `admin:key` what their scope says, `send@shop+crm:key` may
send only as those sources, and `billing/send:key` has a name of its own, which two keys may share while one
takes over from the other. A key may be written as `sha256=` and its digest. Only digests are kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from hookline.errors import Refusal, SettingsError
from hookline.sources import Headers

#: A shorter key could be guessed through a door that answers thousands of times a second.
SHORTEST_KEY = 16

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_DIGEST = re.compile(r"sha256=([0-9a-f]{64})")


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
    sources: the names it may send as, each a literal or with a trailing `*`; None is any.
    verdict: how it was identified, for people.
    """

    name: str
    scopes: frozenset[Scope]
    sources: frozenset[str] | None = None
    verdict: str = ""
    door: str = field(init=False)
    #: The source of an event that names none: the only one that the key may send as, or its name.
    default_source: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "door", f"events/{self.name}")
        only = next(iter(self.sources)) if self.sources is not None and len(self.sources) == 1 else ""
        object.__setattr__(self, "default_source", only.removesuffix("*") or self.name)

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
        if self.sources is None or source in self.sources:
            return
        if not any(source.startswith(each[:-1]) for each in self.sources if each.endswith("*")):
            raise Refusal(403, "scope", "This key may not send as that source.")


#: Without keys the gateway listens on loopback alone, and whoever is on the machine may do everything.
LOCAL = Caller("local", _EVERYTHING, verdict="loopback, no key")


@dataclass(frozen=True, slots=True)
class Access:
    """The API keys, by digest."""

    callers: dict[bytes, Caller] = field(repr=False)

    @classmethod
    def from_keys(cls, keys: Iterable[str]) -> Access:
        """Read keys as written in HOOKLINE_API_KEYS.

        Raises
        ------
        SettingsError: one is not written as described above; names its place and never the key.
        """
        callers: dict[bytes, Caller] = {}
        for place, written in enumerate(keys, start=1):
            digest, caller = _read_key(written, f"HOOKLINE_API_KEYS: key {place}")
            if digest in callers:
                raise SettingsError(f"HOOKLINE_API_KEYS: key {place} is there twice; leave one out")
            callers[digest] = caller
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
        authorization = headers.raw_value(b"authorization")
        if authorization is None and access_token is None:
            raise _unauthorized("No API key; send `Authorization: Bearer <key>`.")
        key = _bearer(authorization)
        if key is None and access_token is not None:
            key = access_token.encode("utf-8", "surrogateescape")
        # Looked up by digest: how long that takes says nothing about the keys.
        caller = None if key is None else self.callers.get(hashlib.sha256(key).digest())
        if caller is None:
            raise _unauthorized("The API key is not known.")
        return caller


def _read_key(written: str, place: str) -> tuple[bytes, Caller]:
    prefix, colon, key = written.rpartition(":")
    if not colon:
        prefix = ""
    who, at, sources = prefix.partition("@")
    name, slash, scope = who.rpartition("/")
    if slash and _NAME.fullmatch(name) is None:
        raise SettingsError(f"{place} has the name {name!r}; names have small letters, digits, - and _")
    if scope not in ("", *Scope) or (colon and not scope):
        raise SettingsError(f"{place} has the scope {scope!r}; write send, read or admin")
    if at and (scope != Scope.SEND or not all(sources.split("+"))):
        raise SettingsError(f"{place}: sources are written as send@shop+crm, for the scope send alone")
    digest = _digest(key, place)
    name = name or digest.hex()[:8]
    return digest, Caller(
        name,
        frozenset([Scope(scope)]) if scope in (Scope.SEND, Scope.READ) else _EVERYTHING,
        frozenset(sources.split("+")) if at else None,
        verdict=f"API key {name}",
    )


def _digest(key: str, place: str) -> bytes:
    written = _DIGEST.fullmatch(key)
    if written is not None:
        return bytes.fromhex(written[1])
    if len(key) < SHORTEST_KEY:
        raise SettingsError(
            f"{place} is shorter than {SHORTEST_KEY} characters; make one with"
            " `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )
    if key.startswith("sha256="):
        raise SettingsError(f"{place} is no digest: after sha256= there are 64 hexadecimal digits")
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _bearer(authorization: bytes | None) -> bytes | None:
    if authorization is None:
        return None
    scheme, _, credentials = authorization.partition(b" ")
    return credentials.strip() if scheme.lower() == b"bearer" else None


def _unauthorized(detail: str) -> Refusal:
    return Refusal(401, "unauthorized", detail, headers={"www-authenticate": "Bearer"})
