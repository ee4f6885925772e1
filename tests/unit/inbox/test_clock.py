"""A clock that was ahead and is set right again holds nothing up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hookline.event import BodyFormat, Draft, now
from hookline.inbox import Inbox, NewDispatch, Routing

LEASE = timedelta(seconds=15)


@pytest.mark.parametrize("keep_lease", [True, False])
async def test_a_wait_that_was_set_by_a_clock_ahead_ends_when_a_gateway_starts(keep_lease: bool) -> None:
    """An attempt failed at what the clock called an hour from now; the next gateway tries again at once."""
    at = now()
    draft = Draft(
        door="events/local", type="parcel.sent", source="shop", body=b"{}", body_format=BodyFormat.JSON
    )
    async with Inbox.open("sqlite://") as inbox:
        recorded, _ = await inbox.record(draft)
        new = NewDispatch(trigger_id="ship/on-sent/sent", lane="ship/on-sent")
        routed = await inbox.route([Routing(recorded.id, 0, (new,))], at=at, lease=LEASE)
        assert routed is not None
        [dispatch] = routed.ready
        ahead = at + timedelta(hours=1)
        await inbox.settle_retry(dispatch, reason="Prefect is away", due=ahead, keep_lease=keep_lease)
        assert await inbox.claim("ship/on-sent", limit=1, at=at, lease=LEASE) == []
        assert await inbox.release_leases(everybody=True) == 1
        [claimed] = await inbox.claim("ship/on-sent", limit=1, at=at, lease=LEASE)
    assert claimed.id == dispatch.id
