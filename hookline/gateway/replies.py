"""Answers: JSON, and errors as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from starlette.types import Scope, Send

from hookline.errors import Refusal
from hookline.sources import Reply

JSON = ("content-type", "application/json")
PROBLEM = ("content-type", "application/problem+json")


def json_reply(document: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Return a JSON answer."""
    return Reply(status, (JSON, *headers), orjson.dumps(document))


def problem(refusal: Refusal) -> Reply:
    """Return a refusal as a problem document; its `reason` is stable, its `detail` is for people."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.detail,
        "reason": refusal.reason,
    }
    if refusal.pointer is not None:
        document["pointer"] = refusal.pointer
    return Reply(refusal.status, (PROBLEM, *refusal.headers.items()), orjson.dumps(document))


async def send_reply(scope: Scope, send: Send, reply: Reply) -> None:
    """Send an answer over ASGI."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    if reply.status not in (204, 304):
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else reply.body
    await send({"type": "http.response.body", "body": body})
