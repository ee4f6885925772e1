"""Reading a request: its body within limits, and the address as its sender wrote it."""

from __future__ import annotations

import zlib
from collections.abc import Collection

from starlette.types import Receive, Scope

from hookline.errors import Refusal
from hookline.sources import Headers

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


async def read_body(headers: Headers, receive: Receive, limit_bytes: int) -> bytes:
    """Return a request's body, decompressed.

    Parameters
    ----------
    headers: the received headers.
    receive: the rest of the request.
    limit_bytes: the largest body accepted, before and after decompression.

    Raises
    ------
    Refusal: 413 too large, 415 unknown encoding, 400 the sender went away or the encoding is broken.
    """
    declared = headers.raw_value(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
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


def remote_address(scope: Scope, headers: Headers, trusted_proxies: Collection[str]) -> str:
    """Return the sender's address; behind a trusted proxy, the last one that is not a trusted proxy."""
    client = scope.get("client")
    address = client[0] if client else ""
    if address not in trusted_proxies:
        return address
    forwarded = headers.get("x-forwarded-for") or ""
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
    return next((hop for hop in reversed(hops) if hop not in trusted_proxies), address)


def sender_url(scope: Scope, headers: Headers, trusted_proxies: Collection[str]) -> str:
    """Return the request's address as its sender wrote it, which some providers sign.

    `X-Forwarded-Proto` and `X-Forwarded-Host` count only when they come from a trusted proxy.
    """
    scheme, host = scope["scheme"], headers.get("host") or ""
    client = scope.get("client")
    if client and client[0] in trusted_proxies:
        scheme = (headers.get("x-forwarded-proto") or scheme).split(",")[0].strip()
        host = (headers.get("x-forwarded-host") or host).split(",")[0].strip()
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope["query_string"]
    return f"{scheme}://{host}{path.decode('latin-1')}" + (f"?{query.decode('latin-1')}" if query else "")
