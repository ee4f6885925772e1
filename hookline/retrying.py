"""When to try an HTTP request again, and how long to wait; and a request that does so."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hookline.backoff import Backoff

if TYPE_CHECKING:
    import httpx

#: One attempt's limit; a gateway that takes longer is asked again.
ATTEMPT_SECONDS = 10.0


class Undelivered(Exception):
    """No attempt got an answer that is worth having; the message says what the last one met."""


async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None = None,
    give_up_after: timedelta,
) -> httpx.Response:
    """Make an HTTP request and return its answer, trying again while what is wrong is transient.

    Connection errors, 408, 429 and 5xx are tried again with full jitter, and not before the time that a
    `Retry-After` names. Any other answer is returned, errors included; redirects are not followed. The
    request must be safe to repeat.

    Parameters
    ----------
    method, url, headers, content: the request.
    give_up_after: how long to keep trying, all attempts and waits together.

    Raises
    ------
    Undelivered: time ran out.
    """
    # Imported here because httpx takes about 0.3 s to import, and `import hookline` must not.
    import httpx

    loop = asyncio.get_running_loop()
    deadline = loop.time() + give_up_after.total_seconds()
    attempt, backoff = 0, Backoff()
    async with httpx.AsyncClient(verify=_trust(url)) as client:
        while True:
            attempt += 1
            asked: float | None = None
            try:
                answer = await client.request(
                    method, url, headers=dict(headers), content=content,
                    timeout=max(0.05, min(ATTEMPT_SECONDS, deadline - loop.time())),
                )  # fmt: skip
            except httpx.InvalidURL as wrong:
                raise Undelivered(f"this is not an address: {wrong}") from None
            except httpx.UnsupportedProtocol:
                raise Undelivered("the address does not begin with http:// or https://") from None
            except httpx.TransportError as wrong:
                met = f"{type(wrong).__name__}: {wrong}".removesuffix(": ")
            else:
                if not is_transient(answer.status_code):
                    return answer
                asked = retry_after_seconds(answer.headers.get("Retry-After"))
                met = f"HTTP {answer.status_code}"
            wait = backoff.delay(attempt, at_least=asked).total_seconds()
            if loop.time() + wait >= deadline:
                raise Undelivered(
                    f"{met}, after {attempt} attempts within {give_up_after.total_seconds():g} s"
                )
            await asyncio.sleep(wait)


def is_transient(status: int) -> bool:
    """Return whether an HTTP status says that the same request may succeed later."""
    return status in (408, 429) or status >= 500


def retry_after_seconds(header: str | None) -> float | None:
    """Read a `Retry-After` header, which holds seconds or an HTTP date; None if there is none to read."""
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def place(url: str) -> str:
    """Return scheme, host and port of an address: what may be shown of it in an error."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _trust(url: str) -> ssl.SSLContext | bool:
    # Reading the CA bundle takes 15 ms, wasted on plain http. A bare context trusts nobody, so that
    # nothing is ever taken for verified with it.
    return url.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
