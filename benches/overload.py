"""Twice the load that the gateway can take: memory stays bounded, nothing acknowledged is lost."""

from __future__ import annotations

import argparse
import tempfile
import threading
from pathlib import Path

from benches import _door
from benches.ingest import SOURCES

#: What an answer may be while there is too much; the last two carry Retry-After.
ALLOWED = {"202", "429", "503"}


def main() -> None:
    """Find the capacity, offer twice as much, look at memory, answers and the inbox."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--memory-mib", type=float, default=700, help="what the gateway may have at most")
    given = parser.parse_args()
    _door.require_wrk()
    with tempfile.TemporaryDirectory(prefix=".overload-", dir=".") as folder:
        overload(Path(folder).absolute() / "data", given)


def overload(folder: Path, given: argparse.Namespace) -> None:
    """Drive the gateway beyond what it can take, and check what it did."""
    with _door.running(folder, SOURCES) as (gateway, _prefect):
        for name in ("capacity", "overload"):
            _door.write_bodies(folder / name, "webhooks")
        assert gateway.process is not None
        pid = gateway.process.pid
        capacity = _door.drive(
            gateway.url, "webhooks", folder / "capacity", connections=32, seconds=5, pid=pid
        )
        print(
            f"capacity: {capacity.per_second:.0f}/s at 32 connections, memory {gateway.memory_mib():.0f} MiB"
        )
        # Each connection asks again as soon as it is answered: more of them than may be inside at once keep
        # more on offer than can be taken, however quickly it is turned away.
        peak = Peak(gateway)
        with peak:
            load = _door.drive(
                gateway.url,
                "webhooks",
                folder / "overload",
                connections=3_000,
                seconds=given.seconds,
                pid=pid,
            )
        accepted = load.statuses.get("202", 0)
        print(
            f"offered {load.per_second:.0f}/s, {load.per_second / capacity.per_second:.1f} times as much, for"
            f" {given.seconds:g} s over 3000 connections: {load.statuses}, socket errors {load.socket_errors}"
        )
        print(f"accepted about {accepted / given.seconds:.0f}/s; memory at most {peak.mib:.0f} MiB")
        assert set(load.statuses) <= ALLOWED, f"other answers: {load.statuses}"
        assert peak.mib < given.memory_mib, "memory is not bounded"
        assert accepted / given.seconds > capacity.per_second / 2, "turning away leaves no time to accept"
    ids = _door.acknowledged(folder / "overload")
    lost = _door.missing_from_inbox(gateway.inbox, ids)
    print(f"{len(ids)} acknowledged, {len(lost)} of them not in the inbox")
    assert not lost


class Peak:
    """Watches a gateway's memory.

    Parameters
    ----------
    gateway: the gateway.
    """

    def __init__(self, gateway: _door.Gateway) -> None:
        self.mib = 0.0
        self._gateway = gateway
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            self.mib = max(self.mib, self._gateway.memory_mib())


if __name__ == "__main__":
    main()
