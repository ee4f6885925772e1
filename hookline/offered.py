"""Events that were just committed and wait in memory to be matched, as many as memory may hold."""

from __future__ import annotations

from collections import deque

import orjson

from hookline.event import Event

LIMIT = 20_000
LIMIT_BYTES = 64 * 1024 * 1024


class Offered:
    """A queue with a limit; beyond it events are found in the inbox, in order."""

    def __init__(self) -> None:
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        #: Some did not fit: from here on the inbox is read, or younger events would overtake them.
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event, size_bytes: int | None = None) -> None:
        """Take an event, or remember that it did not fit.

        Parameters
        ----------
        size_bytes: of its body; it is measured where it is not given.
        """
        size = data_bytes(event) if size_bytes is None else size_bytes
        if self.overflowed or len(self._events) >= LIMIT or self._bytes + size > LIMIT_BYTES:
            self.overflowed = True
        else:
            self._events.append((event, size))
            self._bytes += size

    def take(self, limit: int, limit_bytes: int) -> list[Event]:
        """Return the first events, no more than fit, but at least one if there is one."""
        taken: list[Event] = []
        while self._events and len(taken) < limit and limit_bytes > 0:
            event, size = self._events.popleft()
            self._bytes -= size
            limit_bytes -= size
            taken.append(event)
        return taken


def data_bytes(event: Event) -> int:
    """Return how much room an event's data takes, about."""
    return len(orjson.dumps(event.data)) if event.claim is None else 0
