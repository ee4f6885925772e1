"""The stylesheet, the script and the icon, served under names that change with their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hookline.errors import Refusal
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.sources import Reply

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def _load() -> tuple[dict[str, str], dict[str, Reply]]:
    addresses: dict[str, str] = {}
    replies: dict[str, Reply] = {}
    for path in sorted(_FOLDER.iterdir()):
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:12]
        name = f"{path.stem}.{digest}{path.suffix}"
        addresses[path.name] = f"/assets/{name}"
        headers = (
            ("content-type", _TYPES[path.suffix]),
            # The name holds a digest: this address never gives anything else.
            ("cache-control", "public, max-age=31536000, immutable"),
            ("etag", f'"{digest}"'),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        )
        replies[name] = Reply(200, headers, body)
    return addresses, replies


_ADDRESSES, _REPLIES = _load()


def address(name: str) -> str:
    """Return the address of one of our files, such as that of `hookline.css`."""
    return _ADDRESSES[name]


async def read_asset(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /assets/{name}`."""
    reply = _REPLIES.get(exchange.path["name"])
    if reply is None:
        raise Refusal(404, "not-found", "There is no such file; reload the page that names it.")
    etag = dict(reply.headers)["etag"]
    if exchange.headers.get("if-none-match") == etag:
        return Reply(304, reply.headers)
    return reply
