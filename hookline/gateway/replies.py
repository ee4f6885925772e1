"""Answers: JSON, and errors as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson

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
