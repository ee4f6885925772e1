"""Keeping SQLite's write-ahead log short, beside the writer instead of in its way.

A checkpoint copies the pages of the log into the database file and syncs that: tens of milliseconds on a busy
disk. Left to itself SQLite does one inside some commit every thousand pages, and all who wait for that commit
wait for it too. Here a thread of its own copies while the writer goes on; the log can only begin again at its
start when nothing is left to copy, so once it is long the writer copies the last few pages itself.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import threading

from sqlalchemy import Engine, PoolProxiedConnection

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.2
#: From so many pages on (of 4 KiB) the writer is asked to finish, so that the log begins again.
LONG_LOG_PAGES = 16_384
#: Before that; of four, one nearly always catches up with the writer.
SHORT_PASSES = 4
#: Copying thousands of pages is work for a processor that the door may want.
NICENESS = 15


class Checkpointer:
    """The thread that checkpoints.

    Parameters
    ----------
    engine: gives the connection that copies.
    """

    def __init__(self, engine: Engine) -> None:
        self._connection = engine.raw_connection()
        self._written = False
        self._stop = threading.Event()
        # The log is long, and nearly all of it is copied.
        self._finish_wanted = False
        self._thread = threading.Thread(target=self._run, name="hookline-inbox-checkpointer", daemon=True)
        self._thread.start()

    def written(self) -> bool:
        """Take the news of a commit; return whether the writer is to copy the last pages now."""
        self._written = True
        wanted, self._finish_wanted = self._finish_wanted, False
        return wanted

    def close(self) -> None:
        """End; what is left is copied when the last connection closes."""
        self._stop.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        if sys.platform == "linux":  # where a thread has a niceness of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._stop.wait(INTERVAL_SECONDS):
            if self._written:
                self._written = False
                if checkpoint(self._connection) > LONG_LOG_PAGES:
                    # SQLite syncs the database only where a pass has caught up with the writer, and short
                    # ones do. Otherwise all of that, 20 ms, would be left to the writer.
                    for _ in range(SHORT_PASSES):
                        checkpoint(self._connection)
                    self._finish_wanted = True


def checkpoint(connection: PoolProxiedConnection) -> int:
    """Copy what can be copied without waiting for anybody; return the log's length in pages."""
    cursor = connection.cursor()
    try:
        row = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as failed:
        log.warning("The inbox's write-ahead log cannot be copied: %s; it grows meanwhile", failed)
        return 0
    finally:
        cursor.close()
    return int(row[1])
