"""The `Idempotency-Key` of a request (draft-ietf-httpapi-idempotency-key-header). Pure."""

from __future__ import annotations

import re

from hookline.errors import Refusal
from hookline.sources import Headers

LONGEST_KEY = 255

# A string of structured fields (RFC 8941, 3.3.3); and what people send instead: the key itself.
_QUOTED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(rb"[!#-~]+(?: +[!#-~]+)*")


def idempotency_key(headers: Headers) -> str | None:
    """Return the request's key, or None where it has none.

    Raises
    ------
    Refusal: 400, it is neither a quoted string nor bare words, is too long, or there are several.
    """
    value = headers.raw_value(b"idempotency-key")
    if value is None:
        return None
    if headers.count(b"idempotency-key") > 1:
        raise _wrong("is there more than once")
    value = value.strip(b" \t")
    quoted = _QUOTED.fullmatch(value)
    if quoted is not None:
        key = re.sub(rb'\\(["\\])', rb"\1", quoted[1]).decode("ascii")
    elif _BARE.fullmatch(value):
        key = value.decode("ascii")
    else:
        raise _wrong("is no quoted string of ASCII characters")
    if not 0 < len(key) <= LONGEST_KEY:
        raise _wrong(f"has to have 1 to {LONGEST_KEY} characters")
    return key


def _wrong(why: str) -> Refusal:
    return Refusal(
        400, "bad-idempotency-key", f'Idempotency-Key {why}; write it as Idempotency-Key: "order-17".'
    )
