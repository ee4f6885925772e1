"""Deliberately broken builds of the gateway: python -m tests.support.sabotage FAULT gateway.

Nothing of this is in the product: the parts are replaced in this process, before the gateway starts.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable

from hookline import stamps
from hookline.cli import main
from hookline.inbox import Dispatch
from hookline.inbox.records import Arrival, Recorded
from hookline.inbox.writer import Writer

#: A store that answers first and writes later gathers what it writes for so long.
BEHIND_SECONDS = 2.0


def ack_before_commit() -> None:
    """Answer as soon as an event is in memory, and write it a moment later: fast, and wrong."""
    honest = Writer.record

    async def record(self: Writer, arrival: Arrival) -> Recorded:
        async def write() -> None:
            await asyncio.sleep(BEHIND_SECONDS)
            await honest(self, arrival)

        pending.add(task := asyncio.create_task(write()))
        task.add_done_callback(pending.discard)
        return Recorded(arrival.id)

    pending: set[asyncio.Task[None]] = set()
    Writer.record = record  # type: ignore[method-assign] # that is the sabotage


def random_idempotency_key() -> None:
    """Give each attempt to start a run a key of its own, as a retry that was not thought through does."""

    def idempotency_key(dispatch: Dispatch) -> str:
        return f"hookline:{uuid.uuid4()}"

    stamps.idempotency_key = idempotency_key


SABOTAGES: dict[str, Callable[[], None]] = {
    "ack-before-commit": ack_before_commit,
    "random-idempotency-key": random_idempotency_key,
}

if __name__ == "__main__":
    SABOTAGES[sys.argv.pop(1)]()
    main()
