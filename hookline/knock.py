"""A knock at the door: one HTTP request as it was received, and the answer it gets. Pure data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl

#: Names of headers that are never kept with an event: credentials, and what concerned the connection only.
CREDENTIALS = frozenset(
    (
        b"authorization", b"proxy-authorization", b"cookie", b"x-api-key",
        b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip


class Headers:
    """Received headers: pairs in the order they came, looked up without regard to case.

    Parameters
    ----------
    raw: pairs of bytes with names in lower case, which is how ASGI servers hand them over.
    """

    __slots__ = ("_content_type", "_index", "_media_type", "raw")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self.raw = raw if isinstance(raw, list) else list(raw)
        self._index: dict[bytes, bytes] | None = None
        self._content_type: str | None = None
        self._media_type: str | None = None

    @classmethod
    def of(cls, pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Headers:
        """Build from text, names in any case: for tests and for callers that are not ASGI."""
        items = pairs.items() if isinstance(pairs, Mapping) else pairs
        return cls([(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in items])

    def raw_value(self, name: bytes) -> bytes | None:
        """Return the first value of a header by its lower-case name."""
        index = self._index
        if index is None:
            # Reversed, so that of a repeated header the first value wins.
            index = self._index = dict(reversed(self.raw))
        return index.get(name)

    def get(self, name: str) -> str | None:
        """Return the first value of a header, by its name in any case."""
        value = self.raw_value(name.lower().encode("latin-1", "replace"))
        return None if value is None else value.decode("latin-1")

    @property
    def content_type(self) -> str:
        """The Content-Type as received, or ""."""
        if self._content_type is None:
            self._content_type = (self.raw_value(b"content-type") or b"").strip().decode("latin-1")
        return self._content_type

    @property
    def media_type(self) -> str:
        """The Content-Type in lower case without its parameters, or ""."""
        if self._media_type is None:
            self._media_type = self.content_type.partition(";")[0].rstrip().lower()
        return self._media_type

    def count(self, name: bytes) -> int:
        """Return how often a header was sent, by its lower-case name."""
        return sum(1 for each, _ in self.raw if each == name)

    def kept(self, dropped: frozenset[bytes]) -> tuple[tuple[str, str], ...]:
        """Return the pairs as text, without those whose lower-case name is in `dropped`."""
        return tuple(
            [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in self.raw
                if name not in dropped
            ]
        )

    def __contains__(self, name: object) -> bool:
        """Return whether a header was sent, by its name in any case."""
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterate over the pairs as text, in the order they came."""
        return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.raw)

    def __repr__(self) -> str:
        """Name the headers without their values, which may be credentials."""
        return f"Headers({', '.join(name.decode('latin-1') for name, _ in self.raw)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """A request at the front door.

    Parameters
    ----------
    method: the HTTP method in upper case.
    url: the absolute address as the sender wrote it; behind a trusted proxy the gateway rebuilds it.
    path: the decoded path.
    query_string: the raw query, without the question mark.
    headers: the received headers.
    body: the received bytes, decompressed.
    received: when it came in, aware; the clock that signatures are held against.
    remote: address of the sender.
    token: the opaque part of the URL after the source's name, if there was one.
    verdict: how the sender was identified, for people, where that came before the body.
    """

    method: str
    url: str
    path: str
    query_string: bytes
    headers: Headers
    body: bytes
    received: datetime
    remote: str = ""
    token: str | None = None
    verdict: str = ""

    def __repr__(self) -> str:
        """Describe the request without its query, headers and body, which may hold credentials."""
        return f"Knock({self.method} {len(self.body)} bytes from {self.remote or 'unknown'})"

    def query(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        for each, value in parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True):
            if each == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer that the gateway sends as it stands.

    Parameters
    ----------
    status: the HTTP status.
    headers: pairs of header names and values.
    body: the bytes of the body.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Handshake:
    """A request that belongs to setting up the webhook; it is answered and is no event.

    Parameters
    ----------
    name: which handshake it was, such as `url_verification`.
    reply: the answer the provider expects.
    """

    name: str
    reply: Reply
