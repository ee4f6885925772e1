"""`hookline deploy` on a real Prefect server: what it makes there, what it keeps, what it refuses."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from hookline.deploy_process import start_process
from hookline.deploying import DeployReport, deploy, plan_deploy
from hookline.deploying_child import _until_healthy
from hookline.errors import DeployError, PrefectUnavailable
from hookline.inbox.deploy_lock import deploy_lock
from hookline.inbox.inbox import Inbox
from hookline.prefect_api import PrefectApi
from hookline.triggers import Trigger
from tests.support.servers import PrefectServer, free_port

FLOWS = """\
    import hookline
    from prefect import flow

    print("a module may print while it is imported")

    @flow(name="record-order")
    def record(event: hookline.Event | None = None): ...

    @flow
    def sum_up(day: str = "today"): ...

    @flow
    def needs(order: str): ...
    """

PROJECT = """\
    name: shop
    deployments:
      - name: on-order
        entrypoint: orders.py:record
        work_pool: {name: POOL}
        triggers:
          - type: event
            name: placed
            expect: [order.placed]
            where: data.total > 100.0
            concurrency: {key: subject, limit: 1}
          - type: event
            name: failed
            expect: [prefect.flow-run.Failed]
            match_related: {prefect.resource.id: prefect.flow.none}
      - name: nightly
        entrypoint: orders.py:sum_up
        work_pool: {name: POOL}
        schedules:
          - {cron: "0 3 * * *", timezone: Europe/Berlin}
        triggers:
          - {type: event, name: asked, expect: ["summary.*"], parameters: {day: "{{ event.payload.day }}"}}
    """


class Shop:
    """A project in a folder of its own, a server to deploy it to, and an inbox."""

    def __init__(self, folder: Path, server: PrefectServer, inbox: Inbox, prefect: PrefectApi) -> None:
        self.folder = folder
        self.server = server
        self.inbox = inbox
        self.prefect = prefect
        self.pool = f"pool-{uuid.uuid4().hex[:8]}"
        self.lines: list[str] = []
        self.write(PROJECT)
        (folder / "orders.py").write_text(textwrap.dedent(FLOWS))

    @property
    def path(self) -> Path:
        return self.folder / "prefect.yaml"

    def write(self, project: str) -> None:
        self.path.write_text(textwrap.dedent(project).replace("POOL", self.pool))

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }

    async def deploy(self, **options: Any) -> DeployReport:
        return await deploy(
            self.path,
            self.inbox,
            progress=self.lines.append,
            environment=self.server.env,
            **options,
        )

    def stock_deploy(self) -> str:
        """Run `prefect deploy --all` as anybody would."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
            cwd=self.folder, env=self.server.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    async def automations(self, lane: str) -> set[str]:
        """Return the names of the automations that a deployment owns."""
        deployment = await self.prefect.deployment(lane)
        async with httpx.AsyncClient(base_url=self.server.api_url) as client:
            found = await client.get(f"/automations/related-to/prefect.deployment.{deployment.id}")
        return {automation["name"] for automation in found.raise_for_status().json()}

    async def kept(self) -> tuple[int, dict[str, dict[str, Any]]]:
        version, documents = await self.inbox.trigger_set()
        return version, {f"{d['flow']}/{d['deployment']}/{d['name']}": d for d in documents}


def trigger(flow: str, deployment: str, name: str) -> Trigger:
    return Trigger(flow=flow, deployment=deployment, name=name, expect=("a",))


@pytest.fixture
async def shop(
    tmp_path: Path, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    # A developer's own setting must not hide what a deploy leaves in the tree.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    folder = tmp_path / "shop"
    folder.mkdir()
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        async with Inbox.open(f"sqlite:///{tmp_path / 'inbox.db'}") as inbox, PrefectApi.open() as prefect:
            shop = Shop(folder, prefect_server, inbox, prefect)
            await prefect.create_pool(shop.pool, "process")
            yield shop


async def always(_: Sequence[str]) -> bool:
    return True


async def until(condition: Callable[[], Awaitable[Any]], timeout_seconds: float = 30) -> Any:
    """Return what `condition` gives once that is true; Prefect gives no signal that could be waited for."""
    deadline = time.monotonic() + timeout_seconds
    while not (value := await condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.05)
    return value


async def test_deploy_gives_each_trigger_to_who_keeps_it(shop: Shop) -> None:
    """Prefect gets the deployments and its own triggers, the inbox the rest.

    Triggers that the file no longer has go, and the user's tree is left as it was.
    """
    await shop.inbox.save_trigger_set([trigger("record-order", "on-order", "was-there-before")])
    before = shop.files()
    report = await shop.deploy(agree=always)

    assert report.removed == ("record-order/on-order/was-there-before",)
    assert report.deployments == ("record-order/on-order", "sum-up/nightly")
    assert [trigger.id for trigger in report.kept] == [
        "record-order/on-order/placed",
        "sum-up/nightly/asked",
    ]
    assert [(left.name, "prefect.*" in left.reason) for left in report.left] == [("failed", True)]
    assert (report.version, report.changed, report.warnings) == (2, True, ())

    version, kept = await shop.kept()
    assert (version, set(kept)) == (2, {trigger.id for trigger in report.kept})
    placed = kept["record-order/on-order/placed"]
    assert placed["passes_event"] is True
    assert placed["concurrency"] == {"key": "subject", "limit": 1}
    assert "passes_event" not in kept["sum-up/nightly/asked"]

    assert await shop.automations("record-order/on-order") == {"failed"}
    assert await shop.automations("sum-up/nightly") == set()
    assert (await shop.prefect.deployment("sum-up/nightly")).work_pool == shop.pool
    assert shop.files() == before
    assert [line for line in shop.lines if "on-order" in line or "nightly" in line] == [
        "deployed  record-order/on-order",
        "deployed  sum-up/nightly",
    ]

    # The same triggers again are the same version.
    assert await shop.inbox.save_trigger_set(report.kept) == 2


async def test_a_project_moves_from_stock_deploy_to_hookline_and_starts_nothing_twice(shop: Shop) -> None:
    """Stock `prefect deploy --all` takes the same file; what it made does not fire on Hookline's mirrors.

    After `hookline deploy` its automations for kept triggers are gone.
    """
    shop.stock_deploy()
    assert await shop.automations("record-order/on-order") == {"placed", "failed"}

    deployment = await shop.prefect.deployment("record-order/on-order")
    mirror, plain = "hookline.order.placed", "order.placed"
    resource = {"prefect.resource.id": "hookline.source.shop"}
    async with httpx.AsyncClient(base_url=shop.server.api_url) as client:

        async def runs() -> list[dict[str, Any]]:
            wanted = {"deployments": {"id": {"any_": [deployment.id]}}}
            found = await client.post("/flow_runs/filter", json=wanted)
            return list(found.raise_for_status().json())

        def event(name: str) -> dict[str, Any]:
            occurred = "2026-11-24T03:00:00Z"
            return {"event": name, "occurred": occurred, "resource": resource, "id": str(uuid.uuid4())}

        # In this order: were the mirror to start a run, it would be there before the plain event's.
        sent = await client.post("/events", json=[event(mirror), event(mirror), event(plain)])
        sent.raise_for_status()
        assert len(await until(runs)) == 1

    await shop.deploy()
    assert await shop.automations("record-order/on-order") == {"failed"}
    # And a deployment all of whose triggers are kept.
    assert await shop.automations("sum-up/nightly") == set()


async def test_a_missing_pool_is_told_before_anything_is_made(shop: Shop) -> None:
    """With the command that makes it."""
    shop.pool = "nowhere"
    shop.write(PROJECT)
    with pytest.raises(DeployError, match="prefect work-pool create nowhere"):
        await shop.deploy()
    assert await shop.kept() == (0, {})


async def test_what_prefect_refuses_is_shown(shop: Shop) -> None:
    """Its own words, and the inbox stays as it was."""
    # Prefect looks at where it is to run from when it deploys, and nobody before.
    shop.write(PROJECT.replace("work_pool: {name: POOL}", 'work_pool: {name: "{{ $NOWHERE }}"}', 1))
    with pytest.raises(DeployError, match=r"(?s)`prefect deploy` failed:.*NOWHERE"):
        await shop.deploy()
    assert await shop.kept() == (0, {})


@pytest.mark.parametrize(
    ("written", "instead", "why"),
    [
        ("def sum_up", "def summed", r"orders\.py:sum_up cannot be imported: .*'sum_up' not found"),
        (
            "import hookline",
            "import os; print('farewell', flush=True); os._exit(3)",
            "(?s)imported:.*farewell",
        ),
    ],
)
async def test_a_flow_that_cannot_be_imported_is_told_without_a_server(
    tmp_path: Path, written: str, instead: str, why: str
) -> None:
    """Planning asks no server, so that `hookline up` can do it while one starts."""
    path = tmp_path / "prefect.yaml"
    path.write_text(textwrap.dedent(PROJECT))
    (tmp_path / "orders.py").write_text(textwrap.dedent(FLOWS).replace(written, instead))
    async with start_process(tmp_path, os.environ, print) as prefect:
        with pytest.raises(DeployError, match=why):
            await plan_deploy(path, prefect)


async def test_prefects_own_rules_for_templates_hold_before_anything_is_made(shop: Shop) -> None:
    """Jinja alone would take twenty loops."""
    loops = "{% for a in event.payload %}{% for b in a %}{% for c in b %}{% endfor %}{% endfor %}{% endfor %}"
    shop.write(PROJECT.replace("{{ event.payload.day }}", loops))
    with pytest.raises(DeployError, match=r"prefect\.yaml:\d+:\d+: trigger asked of deployment nightly"):
        await shop.deploy()
    assert await shop.kept() == (0, {})


async def test_the_process_with_the_flows_ends_with_the_one_that_started_it(shop: Shop) -> None:
    """Also in the middle of waiting for a server, and when that one is killed."""
    (shop.folder / "orders.py").write_text(
        "import os, pathlib; pathlib.Path('pid').write_text(str(os.getpid()))\n" + textwrap.dedent(FLOWS)
    )
    env = {**shop.server.env, "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    deploying = command(shop, "--wait", "60", environment=env)
    pid = int(await until(lambda: asyncio.to_thread(read, shop.folder / "pid")))
    deploying.kill()
    await asyncio.to_thread(deploying.communicate)
    assert await until(lambda: gone(pid))


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# The command ----------------------------------------------------------------------------------------


def command(
    shop: Shop, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `hookline deploy` in the project's folder, with a pipe for its output."""
    return subprocess.Popen(
        [sys.executable, "-m", "hookline", "deploy", *arguments],
        cwd=shop.folder,
        env={**(environment or shop.server.env), "HOOKLINE_DATA": str(shop.folder / "data")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


async def test_deploys_wait_for_each_other_and_the_file_that_is_read_last_wins(shop: Shop) -> None:
    """The second waits, says so, and reads the file only then; no trigger is lost to an older reading."""
    database = f"sqlite:///{shop.folder / 'data' / 'inbox.db'}"
    async with deploy_lock(database):
        second = command(shop)
        assert second.stdout is not None
        line = await asyncio.to_thread(second.stdout.readline)
        assert line == "Waiting for another deploy to end\n"
        shop.write(PROJECT.replace("name: asked", "name: asked-later"))
    out, err = await asyncio.to_thread(second.communicate)
    assert second.returncode == 0, err
    assert "trigger   sum-up/nightly/asked-later\n" in out
    # Each deployment is told once, as it is made, in a pipe too.
    assert [line for line in out.splitlines() if line.endswith(("on-order", "nightly"))] == [
        "deployed  record-order/on-order",
        "deployed  sum-up/nightly",
    ]

    # A trigger that goes is named, and where nobody is at the terminal it takes --prune.
    shop.write(PROJECT)
    refused = command(shop)
    out, err = await asyncio.to_thread(refused.communicate)
    assert (refused.returncode, "sum-up/nightly/asked-later" in err, "--prune" in err) == (1, True, True)
    pruned = command(shop, "--prune", "--json", "sum-up/nightly")
    out, err = await asyncio.to_thread(pruned.communicate)
    document = orjson.loads(out)
    assert document["removed"] == ["sum-up/nightly/asked-later"]
    assert document["deployments"] == ["sum-up/nightly"]
    assert set(document["kept"]) == {"record-order/on-order/placed", "sum-up/nightly/asked"}


async def test_a_slip_is_told_before_a_process_is_started(shop: Shop) -> None:
    """All that `hookline check` finds."""
    shop.write(PROJECT.replace("expect: [order.placed]", "expct: [job.fails]"))
    refused = command(shop)
    _, err = await asyncio.to_thread(refused.communicate)
    assert refused.returncode == 1
    assert "prefect.yaml:9:9: deployment on-order, trigger placed: `expct` is no key of a trigger" in err


async def test_a_server_that_does_not_answer_is_named() -> None:
    """By its address, without the password that may stand in it: a mistyped one is seen."""
    port = free_port()
    with temporary_settings({PREFECT_API_URL: f"http://ada:secret@127.0.0.1:{port}/api"}):
        async with PrefectApi.open() as prefect:
            with pytest.raises(PrefectUnavailable) as away:
                await _until_healthy(prefect, timedelta(0))
    assert f"does not answer at http://127.0.0.1:{port}/api." in str(away.value)
