"""How many events a second one gateway acknowledges, durably, beside Prefect's own POST /api/events."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from benches import _door

SOURCES = """\
sources:
  github:
    recipe: github
    secrets: [${GITHUB_WEBHOOK_SECRET}]
    rate: 100000/s
"""
MODES = {
    "webhooks": "signed webhooks",
    "events": "plain POST /events",
    "prefect": "Prefect's POST /api/events",
}


def main() -> None:
    """Measure, look every acknowledged id up, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES))
    given = parser.parse_args()
    _door.require_wrk()
    with tempfile.TemporaryDirectory(prefix="ingest-", dir=".") as folder:
        measure(Path(folder).absolute() / "data", given)


def measure(folder: Path, given: argparse.Namespace) -> None:
    """Run all rounds and print what came of them."""
    results: dict[str, list[_door.Load]] = {mode: [] for mode in given.modes}
    with _door.running(folder, SOURCES, HOOKLINE_KEY_RATE="100000/s") as (gateway, prefect):
        median, p99 = _door.fsync_ms(folder)
        print(f"file system {_door.file_system(folder)}, fsync of 4 KiB: median {median:.2f} ms, p99 {p99:.2f} ms")
        for mode in given.modes:
            _door.write_bodies(folder / mode, mode)
        for _ in range(given.rounds):
            for mode in given.modes:
                server = prefect.process if mode == "prefect" else gateway.process
                url = prefect.api_url.removesuffix("/api") if mode == "prefect" else gateway.url
                assert server is not None
                load = _door.drive(
                    url, mode, folder / mode, connections=given.connections, seconds=given.seconds, pid=server.pid
                )
                results[mode].append(load)
                print(f"  {mode:<9} {load}")
        memory = gateway.memory_mib()
    print(f"gateway's memory at the end: {memory:.0f} MiB")
    for mode in given.modes:
        _print(mode, results[mode])
        if mode == "prefect":
            continue
        ids = _door.acknowledged(folder / mode)
        lost = _door.missing_from_inbox(gateway.inbox, ids)
        print(f"  acknowledged {len(ids)}, different ids {len(set(ids))}, not in the inbox {len(lost)}")
        assert not lost
        assert len(ids) == len(set(ids))


def _print(mode: str, loads: list[_door.Load]) -> None:
    def median(name: str) -> float:
        return statistics.median(getattr(load, name) for load in loads)

    print(
        f"{MODES[mode]:<28} {median('per_second'):>8.0f}/s  p50 {median('p50_ms'):.1f} ms"
        f"  p99 {median('p99_ms'):.1f} ms  max {max(load.max_ms for load in loads):.0f} ms"
        f"  not 2xx {sum(load.not_2xx for load in loads)}"
        f"  cores: server {median('server_cores'):.2f}, load {median('generator_cores'):.2f}"
    )


if __name__ == "__main__":
    main()
