"""A running system with the chain's flows, and the facts that they write down."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.prefect import PrefectHttp
from tests.support.up import Up, running_up, until

PROJECT = Path(__file__).parent / "chain_project"
TOKEN = "made-up-for-this-test-0123"
TERMINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
#: What the flows write down as it happens; `ran` is apart, because Prefect adds tasks of its own.
LINKS = ("started", "sent", "wrote", "read")

Fact = tuple[str, str, str]


@dataclass
class Shop:
    """A running system with the chain's flows, and the facts that they write down."""

    up: Up
    folder: Path
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    @property
    def prefect(self) -> PrefectHttp:
        return PrefectHttp(self.up.api)

    def deliver(self, type: str, number: int, **headers: str) -> str:
        """Deliver a webhook; return the tracking id."""
        answer = self.http.post(
            f"{self.up.url}/webhooks/shop", json={"type": type, "number": number, "id": f"{type}-{number}"},
            headers={"Authorization": f"Bearer {TOKEN}", **headers},
        )  # fmt: skip
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def lineage(self, kind: str, id: str, **query: Any) -> dict[str, Any]:
        answer = self.http.get(f"{self.up.url}/lineage/{kind}/{id}", params=query)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def settled(self, kind: str, id: str, events: int, **query: Any) -> dict[str, Any]:
        """Return a graph once it has so many events and all of its runs and tasks have ended."""

        unfinished: list[str] = []

        def ask() -> dict[str, Any] | None:
            graph = self.lineage(kind, id, **query)
            found = sum(node["kind"] == "event" for node in graph["nodes"])
            unfinished[:] = [] if found >= events else [f"{found} of {events} events"]
            for node in graph["nodes"]:
                runs = node["kind"] in ("flow_run", "task_run")
                if (runs and node["state"] not in TERMINAL) or node["state"] in ("accepted", "pending"):
                    unfinished.append(f"{node['key']} {node['name']} is {node['state']}")
            return None if unfinished else graph

        try:
            graph: dict[str, Any] = until(ask, f"the graph of {kind} {id} is complete", 90)
        except AssertionError as late:
            raise AssertionError(f"{late}: {unfinished}") from None
        return graph

    def truth(self, *wanted: str) -> set[Fact]:
        """Return what the flows wrote down."""
        file = self.folder / "truth.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return {tuple(json.loads(line)) for line in lines if json.loads(line)[0] in wanted}

    def close_gate(self, number: int) -> None:
        (self.folder / "gate" / str(number)).touch()

    def open_gate(self, number: int) -> None:
        (self.folder / "gate" / str(number)).unlink()


@contextlib.contextmanager
def running_shop(folder: Path) -> Iterator[Shop]:
    """Start a system on the chain's project, and stop it at the end."""
    project = shutil.copytree(PROJECT, folder / "project", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "gate").mkdir()
    # The tests' own HOOKLINE_ variables do not reach the system; a project's .env file does.
    (project / ".env").write_text(f"HOOKLINE_OPENLINEAGE_FILE={folder / 'openlineage.jsonl'}\n")
    variables = {
        "CHAIN_TRUTH": str(folder / "truth.jsonl"),
        "CHAIN_GATE": str(folder / "gate"),
        "SHOP_TOKEN": TOKEN,
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        with running_up(project, folder / "data") as up:
            up.start("--no-sample").wait_for("Ctrl-C stops everything")
            yield Shop(up, folder)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def facts(graph: dict[str, Any], *wanted: str) -> set[Fact]:
    """Return a graph's edges as the flows write them down: without the dispatch between event and run."""
    edges = {(edge["link"], edge["source"], edge["target"]) for edge in graph["edges"]}
    event_of = {target: source for link, source, target in edges if link == "matched"}
    started = {
        ("started", event_of[source], target)
        for link, source, target in edges
        if link == "started" and source in event_of
    }
    return {fact for fact in edges if fact[0] in wanted and fact[0] != "started"} | started


def of_chain(graph: dict[str, Any], truth: set[Fact]) -> set[Fact]:
    """Return those facts that are about this graph's nodes."""
    keys = {node["key"] for node in graph["nodes"]}
    return {fact for fact in truth if fact[1] in keys or fact[2] in keys}
