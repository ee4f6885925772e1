"""Prefect's server as `up` starts it: its garbage is collected beside its event loop, not inside it.

On SQLite the server's event loop can otherwise stand still for a minute, and with it all requests. A cursor
that became garbage with an error is finalized by the collector, which runs wherever memory is asked for,
mostly in the event loop. SQLite makes the finalizer wait until the cursor's connection is idle; that
connection's thread waits, up to 60 s, for the lock of the database; and who has the lock cannot give it back,
because the event loop stands still. In a thread of its own the collector waits alone.
See docs/decisions/0004-prefect-server-garbage.md.
"""

from __future__ import annotations

import gc
import runpy
import sys
import threading
from typing import NoReturn

from hookline.prefect_messages import read_once
from hookline.prefect_schemas import remember_checked_schemas
from hookline.prefect_statements import visit_once
from hookline.prefect_transactions import take_turns

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


if __name__ == "__main__":
    take_turns()
    visit_once()
    read_once()
    remember_checked_schemas()
    collect_beside()
    # What stands behind this module's name on the command line is Prefect's own.
    sys.argv[0] = "prefect"
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
