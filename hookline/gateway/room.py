"""Room in memory for bodies on their way, so that a crowd of large ones cannot take all there is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hookline.errors import Refusal

#: What has come of all bodies that are being read; those of SMALL_BYTES or less are not counted.
ROOM_BYTES = 256 * 1024 * 1024
SMALL_BYTES = 65_536

_DETAIL = "Too many large bodies at once; retry."


class BodyRoom:
    """What large bodies share; where it is full, the one that has been on its way for longest has to go.

    So a crowd of senders that never come to an end keeps nobody out who does.
    """

    def __init__(self, size_bytes: int = ROOM_BYTES) -> None:
        self._left = size_bytes
        #: In the order they came.
        self._places: dict[Place, None] = {}

    @contextlib.asynccontextmanager
    async def place(self, *, known: bool) -> AsyncIterator[Place]:
        """Give a place for one body until the end of the context.

        Parameters
        ----------
        known: its sender has shown who it is, and makes way for nobody.

        Raises
        ------
        Refusal: 503, others need the room.
        """
        try:
            async with asyncio.timeout(None) as patience:
                place = Place(self, known, patience)
                self._places[place] = None
                try:
                    yield place
                finally:
                    self._leave(place)
        except TimeoutError:
            raise _crowded() from None

    def take(self, place: Place, size: int) -> None:
        """Take more room for a place.

        Raises
        ------
        Refusal: 503, there is none, and nobody has been here longer.
        """
        while size > self._left:
            longest = next((each for each in self._places if not each.known), place)
            if longest is place:
                raise _crowded()
            self._leave(longest)
            longest.patience.reschedule(0)
        self._left -= size
        place.size += size

    def _leave(self, place: Place) -> None:
        self._places.pop(place, None)
        self._left += place.size
        place.size = 0


class Place:
    """The room that one body has.

    Parameters
    ----------
    room: what it is a part of.
    known: its sender has shown who it is.
    patience: ends the reading of the body.
    """

    def __init__(self, room: BodyRoom, known: bool, patience: asyncio.Timeout) -> None:
        self.known = known
        self.patience = patience
        self.size = 0
        self._room = room

    def grow_to(self, size: int) -> None:
        """Have room for so many bytes.

        Raises
        ------
        Refusal: 503, there is none.
        """
        self._room.take(self, size - self.size)


def _crowded() -> Refusal:
    return Refusal(503, "crowded", _DETAIL, headers={"retry-after": "1"})
