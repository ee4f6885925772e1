"""Reading a request: its body within limits, and the address as its sender wrote it."""

from __future__ import annotations

import asyncio
import ipaddress
import zlib
from collections.abc import AsyncIterator, Iterable

from starlette.types import Receive, Scope

from hookline.errors import Refusal, SettingsError
from hookline.gateway.heads import LENGTH_DIGITS
from hookline.gateway.room import SMALL_BYTES, BodyRoom
from hookline.sources import Headers

#: Of a compressed body, what is unpacked before others have their turn, and what may come of that at once.
PACKED_BYTES = 16_384
PLAIN_BYTES = 262_144
#: A body compressed in gzip may be made of so many, one after the other.
MEMBERS = 256

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_GZIP = 16 + zlib.MAX_WBITS


def declared_bytes(headers: Headers) -> int | None:
    """Return the size of a body as it was announced; None where it was not, or not as a number."""
    declared = headers.raw_value(b"content-length")
    return (
        int(declared)
        if declared is not None and declared.isdigit() and len(declared) <= LENGTH_DIGITS
        else None
    )


async def read_body(
    headers: Headers, receive: Receive, limit_bytes: int, room: BodyRoom | None = None, *, known: bool = False
) -> bytes:
    """Return a request's body, decompressed.

    Parameters
    ----------
    headers: the received headers.
    receive: the rest of the request.
    limit_bytes: the largest body accepted, before and after decompression.
    room: what large bodies share, where there may be any.
    known: the sender has shown who it is.

    Raises
    ------
    Refusal: 413 too large, 415 unknown encoding, 408 too slow, 400 the sender went away or it is malformed,
        503 there is no room.
    """
    if (declared_bytes(headers) or 0) > limit_bytes:
        raise _too_large(limit_bytes)
    body = await _read_all(receive, limit_bytes, room, known)
    encoding = headers.raw_value(b"content-encoding")
    return body if encoding is None else await _decompress(body, encoding, limit_bytes)


async def _read_all(receive: Receive, limit_bytes: int, room: BodyRoom | None, known: bool) -> bytes:
    # One array, as the parts may be of a byte each.
    body = bytearray()
    while room is None or len(body) <= SMALL_BYTES:
        part, more = await _read_part(receive)
        if len(body) + len(part) > limit_bytes:
            raise _too_large(limit_bytes)
        if not more:
            return bytes(body + part) if body else part
        body += part
    async with room.place(known=known) as place:
        while more:
            place.grow_to(len(body))
            part, more = await _read_part(receive)
            if len(body) + len(part) > limit_bytes:
                raise _too_large(limit_bytes)
            body += part
        return bytes(body)


async def _read_part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Refusal(400, "incomplete", "The connection ended before the body did.")
    return message.get("body", b""), message.get("more_body", False)


async def _decompress(body: bytes, encoding: bytes, limit_bytes: int) -> bytes:
    name = encoding.lower()
    if name in (b"", b"identity"):
        return body
    if name not in (b"gzip", b"x-gzip", b"deflate"):
        raise Refusal(
            415, "unknown-encoding", "The body's Content-Encoding is not gzip, deflate or identity."
        )
    plain = bytearray()
    try:
        async for part in _unpacked(body, members=1 if name == b"deflate" else MEMBERS):
            plain += part
            if len(plain) > limit_bytes:
                raise _too_large(limit_bytes)
    except zlib.error:
        raise _broken("is not what its Content-Encoding says") from None
    return bytes(plain)


async def _unpacked(body: bytes, members: int) -> AsyncIterator[bytes]:
    """Give what a compressed body holds, part by part; others have their turn in between.

    Parameters
    ----------
    members: so many, each compressed by itself, may follow one another.

    Raises
    ------
    Refusal: 400, it ends too early, or has more members.
    zlib.error: it is not compressed in that way, or something follows that is not.
    """
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    packed, at = body[:PACKED_BYTES], PACKED_BYTES
    while True:
        part = unpacker.decompress(packed, PLAIN_BYTES)
        yield part
        packed = unpacker.unconsumed_tail or unpacker.unused_data
        if not packed:
            packed, at = body[at : at + PACKED_BYTES], at + PACKED_BYTES
        if unpacker.eof:
            if not packed:
                return
            members -= 1
            if not members:
                raise _broken("goes on after its end, or has too many parts")
            unpacker = zlib.decompressobj(_GZIP)
        elif not packed and not part:
            raise _broken("ends too early")
        await asyncio.sleep(0)


def _broken(how: str) -> Refusal:
    return Refusal(400, "broken-encoding", f"The compressed body {how}.")


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
