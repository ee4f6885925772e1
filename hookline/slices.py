"""Work on many things, a slice at a time, so that the event loop goes on with everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

#: Things that are worked on before others have their turn; each takes some 10 to 100 us.
SLICE = 100


async def in_slices(things: Iterable[T]) -> list[T]:
    """Return all things of an iterable that works as it is asked for them."""
    found: list[T] = []
    for thing in things:
        found.append(thing)
        if len(found) % SLICE == 0:
            await asyncio.sleep(0)
    return found
