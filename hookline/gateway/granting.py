"""CloudEvents' abuse protection: whoever asks whether it may send events here is told how many. Pure.

The grant says nothing about who may send: events still need their key.
"""

from __future__ import annotations

import re

from hookline.errors import Refusal
from hookline.sources import Headers, Rate, Reply

ALLOWED = "GET, HEAD, OPTIONS, POST"

_ORIGIN = re.compile(rb"[!-~]{1,255}")
_RATE = re.compile(rb"[1-9][0-9]{0,8}")


def grant(headers: Headers, rate: Rate | None) -> Reply:
    """Answer `OPTIONS /events`: a request for permission (CloudEvents webhooks 1.0, 4), or a mere question.

    Parameters
    ----------
    headers: `WebHook-Request-Origin` asks, `WebHook-Request-Rate` names requests a minute.
    rate: what a key may send.

    Raises
    ------
    Refusal: 400, the origin or the rate is none.
    """
    allow = (("allow", ALLOWED),)
    asked = headers.raw_value(b"webhook-request-rate")
    if asked is not None and asked != b"*" and _RATE.fullmatch(asked) is None:
        raise Refusal(400, "bad-rate", "WebHook-Request-Rate is no number of requests a minute.")
    origin = headers.raw_value(b"webhook-request-origin")
    if origin is None:
        return Reply(204, allow)
    if _ORIGIN.fullmatch(origin) is None:
        raise Refusal(400, "bad-origin", "WebHook-Request-Origin is no name, such as events.example.com.")
    headers_of_grant = (
        *allow,
        ("webhook-allowed-origin", origin.decode("ascii")),
        ("webhook-allowed-rate", _granted(asked, rate)),
    )
    return Reply(200, headers_of_grant)


def _granted(asked: bytes | None, rate: Rate | None) -> str:
    """Return the granted requests a minute: what was asked, within what is allowed."""
    most = None if rate is None else max(1, int(rate.limit * 60 / rate.per.total_seconds()))
    wanted = None if asked in (None, b"*") else int(asked or b"0")
    if wanted is None:
        return "*" if most is None else str(most)
    return str(wanted if most is None else min(wanted, most))
