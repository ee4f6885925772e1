"""`hookline doctor`: what is not well is named by whoever knows, what hangs is named too, and in time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.settings import PREFECT_API_URL, temporary_settings

from hookline import doctor
from hookline.doctor import Check, Doctor, GatewayReport, Verdict, latencies
from hookline.event import now
from hookline.inbox import Inbox, RunSeen
from hookline.inbox.receipts import STEPS, finished_receipts
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings
from hookline.triggers import Trigger
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.prefect import PrefectHttp
from tests.support.servers import PrefectServer
from tests.support.up import HOOKLINE

READY = {"status": "ready", "inbox": "ok", "prefect": "ok"}


def source(name: str, state: str, *faults: str) -> dict[str, Any]:
    return {"name": name, "state": state, "faults": list(faults)}


def examiner(
    settings: Settings,
    api_url: str,
    *,
    readiness: dict[str, str] = READY,
    sources: Sequence[dict[str, Any]] = (),
    sources_error: str | None = None,
) -> Doctor:
    """Return a doctor for a system whose gateway says what it is told to."""
    return Doctor(
        settings,
        gateway="http://127.0.0.1:4280",
        ask_gateway=lambda: GatewayReport(readiness, {"error": sources_error, "sources": sources}),
        open_inbox=lambda: Inbox.open(settings.database_url),
        load_prefect=lambda: (PrefectApi, api_url),
    )


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Give a port that takes connections and never says a word."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        yield int(hole.getsockname()[1])


async def test_it_says_what_is_not_well(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """A pool without workers, an automation that never fires; of sources what the gateway knows."""
    oracle = PrefectHttp(prefect_server.api_url)
    oracle.pool("pool-of-the-doctor")
    deployment = oracle.deployment("examined", "now", "pool-of-the-doctor")
    oracle.post(
        "/automations/",
        {
            "name": "left-behind",
            "trigger": {
                "type": "event", "posture": "Reactive", "expect": ["examined.sent"],
                "threshold": 1, "within": 0,
            },
            "actions": [{"type": "run-deployment", "deployment_id": deployment}],
        },
    )  # fmt: skip
    settings = Settings(_env_file=None, data=tmp_path)  # type: ignore[call-arg]
    trigger = Trigger(flow="examined", deployment="now", name="t", expect=("examined.sent",))
    gone = Trigger(flow="examined", deployment="gone", name="t", expect=("x",))
    sources = [
        source("github", "ready"), source("stripe", "not ready", "set STRIPE_SECRET"),
        source("rotated", "ready", "set NEW"),
    ]  # fmt: skip
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        async with Inbox.open(settings.database_url) as inbox:
            await inbox.save_trigger_set([trigger, gone])
        found = {
            check.name: check
            async for check in examiner(settings, prefect_server.api_url, sources=sources).examine()
        }

    assert {name: check.verdict.value for name, check in found.items()} == {
        "gateway": "ok",
        "source stripe": "failed",
        "source rotated": "warning",
        "disk": "ok",
        "inbox": "ok",
        "unrouted events": "ok",
        "pending dispatches": "ok",
        "dead letters": "ok",
        "prefect": "ok",
        "clock": "ok",
        "deployment examined/now": "ok",
        "deployment examined/gone": "failed",
        "pool pool-of-the-doctor": "failed",
        "automations": "warning",
    }
    assert "prefect worker start" in found["pool pool-of-the-doctor"].detail
    assert "left-behind" in found["automations"].detail
    assert found["source stripe"].detail == "it is shut: set STRIPE_SECRET"


async def test_what_cannot_be_looked_at_hides_nothing_else(tmp_path: Path) -> None:
    """Without an inbox, and to a gateway that sees Prefect away, the rest is looked at all the same."""
    (tmp_path / "file").touch()
    settings = Settings(_env_file=None, data=tmp_path, database=f"sqlite:///{tmp_path}/file/inbox.db")  # type: ignore[call-arg]
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        examined = examiner(
            settings,
            "http://127.0.0.1:1/api",
            readiness=READY | {"prefect": "away"},
            sources=[source("github", "ready")],
            sources_error="sources.yaml:3:1: no YAML",
        )
        found = {check.name: check async for check in examined.examine()}
    assert found["inbox"].verdict is Verdict.FAILED
    assert found["gateway"].verdict is Verdict.WARNING
    assert "Prefect is away" in found["gateway"].detail
    assert found["sources"].verdict is Verdict.FAILED
    assert found["sources"].detail.endswith("stay in force: sources.yaml:3:1: no YAML")
    assert found["prefect"].verdict is Verdict.FAILED
    assert "not looked at" in found["deployments"].detail
    assert found["disk"].verdict is Verdict.OK


async def test_a_check_is_there_as_soon_as_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hangs comes last, with its name and its address; everything before it does not wait for it."""
    monkeypatch.setattr(doctor, "LIMIT_SECONDS", 1.5)
    came: list[tuple[str, float]] = []
    began = time.monotonic()
    with black_hole() as port, temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        settings = Settings(_env_file=None, data=tmp_path, database=f"postgresql://h:pw@127.0.0.1:{port}/h")  # type: ignore[call-arg]
        hanging: Check | None = None
        async for check in examiner(settings, "http://127.0.0.1:1/api").examine():
            came.append((check.name, time.monotonic() - began))
            hanging = check if check.name == "inbox" else hanging
    when = dict(came)
    assert when["disk"] < 1.5 <= when["inbox"]
    assert hanging is not None
    assert f"h:***@127.0.0.1:{port}" in hanging.detail
    assert "hangs" in hanging.detail


def test_when_everything_hangs_it_ends_in_time_and_says_what_hangs(tmp_path: Path) -> None:
    """The command, with a gateway, a database and a Prefect server that take connections and say nothing."""
    with black_hole() as gateway, black_hole() as database, black_hole() as prefect:
        env = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("HOOKLINE_", "PREFECT_"))
            },
            "HOME": str(tmp_path),
            "HOOKLINE_URL": f"http://127.0.0.1:{gateway}",
            "HOOKLINE_DATABASE": f"postgresql://h@127.0.0.1:{database}/h",
            "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
        }
        began = time.monotonic()
        done = subprocess.run(
            [*HOOKLINE, "doctor", "--json"], cwd=tmp_path, env=env, text=True, capture_output=True,
            timeout=60, check=False,
        )  # fmt: skip
        took = time.monotonic() - began
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for name, port in (("gateway", gateway), ("inbox", database), ("prefect", prefect)):
        assert found[name]["verdict"] == "failed"
        assert str(port) in found[name]["detail"], found[name]
    # Nine seconds, and what a busy machine needs to start Python.
    assert took < 15, took


async def test_latencies_are_of_the_runs_that_are_finished(tmp_path: Path) -> None:
    """One population: a run that has not ended counts in no row."""
    trigger = Trigger(flow="f", deployment="d", name="t", expect=("sent",))
    async with running_gateway(tmp_path, triggers=[trigger]) as gateway:
        inbox = gateway.house.inbox
        for number in range(3):
            await _start(gateway, f"run-{number}")
        assert latencies(await inbox.read(lambda c: finished_receipts(c, limit=10))) == []
        moment = now()
        seen = {"started": moment, "finished": moment, "state_type": "COMPLETED"}
        await inbox.see_runs([_seen("run-0", **seen), _seen("run-1", **seen, first_task=moment)])
        found = latencies(await inbox.read(lambda c: finished_receipts(c, limit=10)))
    assert [(each.runs, each.count, tuple(each.seconds)) for each in found] == [
        ("with tasks", 1, STEPS),
        ("without tasks", 1, tuple(step for step in STEPS if step != "first_task")),
    ]


@given(st.lists(st.tuples(*[st.floats(0, 1e6)] * 5, st.booleans()), max_size=40))
def test_no_step_comes_before_the_one_that_it_follows(rows: list[tuple[Any, ...]]) -> None:
    """In every percentile, whatever was measured."""
    receipts = []
    for *seconds, with_task in rows:
        receipt = dict(zip(STEPS, sorted(seconds), strict=True))
        if not with_task:
            del receipt["first_task"]
        receipts.append(receipt)
    found = latencies(receipts)
    assert sum(each.count for each in found) == len(rows)
    for each in found:
        for part in doctor.PARTS:
            column = [each.seconds[step][part] for step in each.seconds]
            assert column == sorted(column)


def _seen(run: str, *, started: Any, finished: Any, state_type: str, first_task: Any = None) -> RunSeen:
    return RunSeen(run, finished, state_type, started=started, first_task=first_task, finished=finished)


async def _start(gateway: RunningGateway, run: str) -> None:
    """Send an event, and settle its dispatch as started."""
    answer = await gateway.http.post("/events", json={"type": "sent"})
    event_id = str(answer.json()["id"])
    with gateway.house.changes.watch(event_id) as watch:
        while (await gateway.stored(event_id)).routed is None:
            assert await watch.wait(10)
    [dispatch] = await gateway.house.inbox.dispatches(event_id)
    moment = now()
    await gateway.house.inbox.settle_started(
        dispatch, flow_run_id=run, flow_run_name=run, deployment_id="d", state="SCHEDULED",
        created=moment, at=moment,
    )  # fmt: skip
