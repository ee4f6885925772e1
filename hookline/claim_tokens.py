"""Tokens that let one dispatch's run fetch its event's body for a while. Pure.

A token is `<dispatch id>.<expiry>.<MAC>`: HMAC-SHA256 over event, dispatch and expiry, so that it opens
one body and nothing else, and needs no table.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime, timedelta

#: A run may wait in its work pool for a long time before it starts.
LIFETIME = timedelta(days=7)


def claim_token(secret: bytes, *, event_id: str, dispatch_id: str, at: datetime) -> str:
    """Return a token for one dispatch of an event.

    Parameters
    ----------
    secret: the key that all gateways of the inbox share.
    at: now; the token expires `LIFETIME` later.
    """
    expires = int((at + LIFETIME).timestamp())
    return f"{dispatch_id}.{expires}.{_mac(secret, event_id, dispatch_id, expires)}"


def claim_is_valid(secret: bytes, token: str, *, event_id: str, at: datetime) -> bool:
    """Return whether a token opens this event's body now."""
    dispatch_id, _, rest = token.partition(".")
    expiry, _, mac = rest.partition(".")
    if not (expiry.isascii() and expiry.isdigit() and len(expiry) < 12 and mac.isascii()):
        return False
    expected = _mac(secret, event_id, dispatch_id, int(expiry))
    return hmac.compare_digest(expected, mac) and at.timestamp() < int(expiry)


def _mac(secret: bytes, event_id: str, dispatch_id: str, expires: int) -> str:
    message = f"{event_id}.{dispatch_id}.{expires}".encode()
    return base64.urlsafe_b64encode(hmac.new(secret, message, hashlib.sha256).digest()).decode().rstrip("=")
