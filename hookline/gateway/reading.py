"""Reading a request: its body within limits, and the address as its sender wrote it."""

from __future__ import annotations

import contextlib
import ipaddress
import zlib
from collections.abc import Iterable, Iterator

from starlette.types import Receive, Scope

from hookline.errors import Refusal, SettingsError
from hookline.sources import Headers

#: All bodies that are being read, together; those that are SMALL_BYTES or less are not counted.
ROOM_BYTES = 256 * 1024 * 1024
SMALL_BYTES = 65_536

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class BodyRoom:
    """Room in memory for bodies on their way, so that a crowd of large ones cannot take all there is."""

    def __init__(self, size_bytes: int = ROOM_BYTES) -> None:
        self._left = size_bytes

    def take(self, headers: Headers, limit_bytes: int) -> contextlib.AbstractContextManager[None]:
        """Return a context with room for a request's body.

        Raises
        ------
        Refusal: 503, others take all the room.
        """
        size = declared_bytes(headers)
        if size is not None and size <= SMALL_BYTES and headers.raw_value(b"content-encoding") is None:
            return _NO_ROOM_NEEDED
        return self._hold(limit_bytes if size is None else min(size, limit_bytes))

    @contextlib.contextmanager
    def _hold(self, size: int) -> Iterator[None]:
        if size > self._left:
            raise Refusal(
                503, "crowded", "Too many large bodies at once; retry.", headers={"retry-after": "1"}
            )
        self._left -= size
        try:
            yield
        finally:
            self._left += size


_NO_ROOM_NEEDED = contextlib.nullcontext()


def declared_bytes(headers: Headers) -> int | None:
    """Return the size of a body as it was announced; None where it was not, or not as a number."""
    declared = headers.raw_value(b"content-length")
    return int(declared) if declared is not None and declared.isdigit() and len(declared) < 16 else None


async def read_body(headers: Headers, receive: Receive, limit_bytes: int) -> bytes:
    """Return a request's body, decompressed.

    Parameters
    ----------
    headers: the received headers.
    receive: the rest of the request.
    limit_bytes: the largest body accepted, before and after decompression.

    Raises
    ------
    Refusal: 413 too large, 415 unknown encoding, 408 too slow, 400 the sender went away or it is malformed.
    """
    if (declared_bytes(headers) or 0) > limit_bytes:
        raise _too_large(limit_bytes)
    body = await _read_all(receive, limit_bytes)
    encoding = headers.raw_value(b"content-encoding")
    return body if encoding is None else _decompress(body, encoding, limit_bytes)


async def _read_all(receive: Receive, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "incomplete", "The connection ended before the body did.")
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts) if len(parts) > 1 else part


def _decompress(body: bytes, encoding: bytes, limit_bytes: int) -> bytes:
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in (b"gzip", b"deflate"):
        raise Refusal(
            415, "unknown-encoding", "The body's Content-Encoding is not gzip, deflate or identity."
        )
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = unpacker.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise Refusal(400, "broken-encoding", "The body is not what its Content-Encoding says.") from None
    if len(plain) > limit_bytes:
        raise _too_large(limit_bytes)
    if not unpacker.eof:
        raise Refusal(400, "broken-encoding", "The compressed body ends too early.")
    return plain


def _too_large(limit_bytes: int) -> Refusal:
    return Refusal(413, "too-large", f"The body is larger than the {limit_bytes} bytes accepted here.")


class Proxies:
    """The proxies in front of the gateway whose word about a request is believed.

    Parameters
    ----------
    written: addresses and networks, such as `10.0.0.1` or `10.0.0.0/8`.

    Raises
    ------
    SettingsError: one is neither.
    """

    def __init__(self, written: Iterable[str]) -> None:
        try:
            self._networks = [ipaddress.ip_network(each, strict=False) for each in written]
        except ValueError as wrong:
            raise SettingsError(f"HOOKLINE_TRUSTED_PROXIES: {wrong}") from None

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._networks)

    def __contains__(self, address: object) -> bool:
        """Return whether an address is that of a trusted proxy."""
        try:
            found = ipaddress.ip_address(str(address))
        except ValueError:
            return False
        return any(found in network for network in self._networks)


def remote_address(scope: Scope, headers: Headers, proxies: Proxies) -> str:
    """Return the sender's address; behind a trusted proxy, the last one that is not a trusted proxy."""
    client = scope["client"]
    address: str = client[0] if client else ""
    if not proxies or address not in proxies:
        return address
    forwarded = headers.get("x-forwarded-for") or ""
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
    return next((hop[:64] for hop in reversed(hops) if hop not in proxies), address)


def sender_url(scope: Scope, headers: Headers, proxies: Proxies) -> str:
    """Return the request's address as its sender wrote it, which some providers sign.

    `X-Forwarded-Proto` and `X-Forwarded-Host` count only when they come from a trusted proxy.
    """
    scheme, host = scope["scheme"], headers.get("host") or ""
    client = scope["client"]
    if proxies and client and client[0] in proxies:
        scheme = (headers.get("x-forwarded-proto") or scheme).split(",")[0].strip()
        host = (headers.get("x-forwarded-host") or host).split(",")[0].strip()
    query = scope["query_string"]
    path = scope["raw_path"].decode("latin-1")
    return f"{scheme}://{host}{path}?{query.decode('latin-1')}" if query else f"{scheme}://{host}{path}"
