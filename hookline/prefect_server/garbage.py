"""Garbage in Prefect's server under `up`: it is collected beside its event loop, not inside it.

On SQLite the server's event loop can otherwise stand still for a minute, and with it all requests. A cursor
that became garbage with an error is finalized by the collector, which runs wherever memory is asked for,
mostly in the event loop. SQLite makes the finalizer wait until the cursor's connection is idle; that
connection's thread waits, up to 60 s, for the lock of the database; and who has the lock cannot give it back,
because the event loop stands still. In a thread of its own the collector waits alone.
See docs/decisions/0004-prefect-server-garbage.md.
"""

from __future__ import annotations

import gc
import threading
from typing import NoReturn

#: How often young garbage is collected, and how many times before all of it is.
COLLECT_SECONDS = 1.0
YOUNG_ROUNDS = 30


def collect_beside() -> threading.Thread:
    """Turn the collector off in all other threads, and run it in one of its own for as long as we live."""
    gc.disable()
    thread = threading.Thread(target=_collect_for_ever, name="hookline-garbage", daemon=True)
    thread.start()
    return thread


def _collect_for_ever() -> NoReturn:
    pause = threading.Event()
    settled = False
    while True:
        for _ in range(YOUNG_ROUNDS):
            pause.wait(COLLECT_SECONDS)
            gc.collect(1)
        gc.collect()
        if not settled:
            # What is there by now is here to stay; to go through it takes the interpreter 160 ms and more.
            gc.freeze()
            settled = True
