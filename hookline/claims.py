"""Loading the data of a claim check: an event whose data stayed at the gateway."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hookline.blocking import blocking
from hookline.body import read_data
from hookline.errors import ClaimError
from hookline.event import BodyFormat, Claim
from hookline.retrying import Undelivered, place, request

#: The response header in which the gateway says how an event's data lies in its body.
FORMAT_HEADER = "Hookline-Body-Format"

TIMEOUT = timedelta(seconds=30)


async def fetch_data(claim: Claim) -> Any:
    """Fetch an event's body from the gateway, and return the data that lies in it.

    Parameters
    ----------
    claim: the claim check.

    Raises
    ------
    ClaimError: the gateway cannot be reached, or gives no data for this claim check.
    """
    try:
        answer = await request(
            "GET", claim.url, headers={"Authorization": f"Bearer {claim.token}"}, give_up_after=TIMEOUT
        )
    except Undelivered as wrong:
        raise ClaimError(
            f"The event's data could not be fetched from {place(claim.url)}: {wrong}. Check that the gateway "
            "can be reached from where this run is; HOOKLINE_URL at the gateway sets the address it gives."
        ) from wrong
    if answer.status_code in (401, 403):
        raise ClaimError(
            f"The claim check for {claim.url} is no longer good: it belongs to one dispatch and expires. "
            "Replay the event (`hookline replay ID`) to get a new one."
        )
    if answer.status_code in (404, 410):
        raise ClaimError(f"The event's body is no longer at {claim.url}: retention has removed it.")
    if not answer.is_success:
        raise ClaimError(f"{claim.url} answered HTTP {answer.status_code}; the gateway's log says why.")
    try:
        return read_data(answer.content, BodyFormat(answer.headers.get(FORMAT_HEADER, "")))
    except ValueError as wrong:
        raise ClaimError(f"The body at {claim.url} is not what its {FORMAT_HEADER} says: {wrong}") from None


load_data = blocking(fetch_data)
