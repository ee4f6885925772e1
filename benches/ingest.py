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
    dedup: {body: false}  # the load has few bodies, sent under many ids
"""
MODES = {
    "webhooks": "signed webhooks",
    "events": "plain POST /events",
    "prefect": "Prefect's POST /api/events",
}


def main() -> None:
    """Measure, look every acknowledged id up, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, in turn; medians count")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES))
    given = parser.parse_args()
    _door.require_wrk()
    with tempfile.TemporaryDirectory(prefix=".ingest-", dir=".") as folder:
        measure(Path(folder).absolute() / "data", given)


def measure(folder: Path, given: argparse.Namespace) -> None:
    """Run all rounds and print what came of them."""
    results: dict[str, list[_door.Load]] = {mode: [] for mode in given.modes}
    with _door.running(folder, SOURCES, HOOKLINE_KEY_RATE="100000/s") as (gateway, prefect):
        median, p99 = _door.fsync_ms(folder)
        print(f"file system {_door.file_system(folder)}, fsync of 4 KiB: {median:.2f} ms, p99 {p99:.2f} ms")
        for mode in given.modes:
            _door.write_bodies(folder / mode, mode)
        for number in range(given.rounds):
            for mode in given.modes:
                load = drive(gateway, prefect, mode, folder, given)
                results[mode].append(load)
                print(f"  round {number + 1} {figures([load])}  {MODES[mode]}", flush=True)
                if mode == "prefect":
                    # It still works on what it has acknowledged; the next round is not to pay for that.
                    assert prefect.process is not None
                    after = _door.wait_until_idle(prefect.process.pid)
                    print(f"          and {after:.0f} s until Prefect's server was at rest again")
        print(
            f"gateway's memory: {gateway.memory_mib():.0f} MiB; load of the machine: {_door.load_average()}"
        )
    print(f"\nmedians of {given.rounds} rounds, {given.connections} connections, 1 KiB:")
    for mode in given.modes:
        print(f"  {MODES[mode]:<28} {figures(results[mode])}")
    for mode in given.modes:
        if mode != "prefect":
            look_up(gateway, mode, folder)


def drive(
    gateway: _door.Gateway, prefect: _door.PrefectServer, mode: str, folder: Path, given: argparse.Namespace
) -> _door.Load:
    """Run one kind of load against its server."""
    stock = mode == "prefect"
    server = prefect.process if stock else gateway.process
    assert server is not None
    return _door.drive(
        prefect.api_url.removesuffix("/api") if stock else gateway.url,
        mode,
        folder / mode,
        connections=given.connections,
        seconds=given.seconds,
        pid=server.pid,
    )


def figures(loads: list[_door.Load]) -> str:
    """Return the medians of runs as a line."""

    def median(name: str) -> float:
        return statistics.median(getattr(load, name) for load in loads)

    return (
        f"{median('per_second'):>7.0f}/s  p50 {median('p50_ms'):>6.1f} ms  p99 {median('p99_ms'):>6.1f} ms"
        f"  not 2xx {sum(load.not_2xx for load in loads)}"
        f"  cores: server {median('server_cores'):.2f}, generator {median('generator_cores'):.2f}"
    )


def look_up(gateway: _door.Gateway, mode: str, folder: Path) -> None:
    """Look every acknowledged id up in the inbox; fail where one is missing or was given twice."""
    ids = _door.acknowledged(folder / mode)
    lost = _door.missing_from_inbox(gateway.inbox, ids)
    print(f"  {MODES[mode]}: {len(ids)} acknowledged, {len(lost)} of them not in the inbox")
    assert not lost
    assert len(ids) == len(set(ids))


if __name__ == "__main__":
    main()
