"""What a sender wrote reaches the flow as it is, and nothing of it is followed or filled in on the way.

Against a real Prefect server that holds a secret and a variable, by a warm worker and by Prefect's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from hookline.prefect_rows import NewRun
from hookline.testing import make_event
from hookline.triggers import Trigger
from hookline.triggers.rendering import render_parameters
from tests.support.servers import PrefectServer
from tests.support.workers import Pool, working

PROJECT = Path(__file__).parent.parent / "support" / "warm_project"
SECRET = "the secret that no sender may see"
VARIABLE = "the variable that no sender may see"


@dataclass
class Workplace:
    """Two pools with a worker each, and what is worth stealing beside them."""

    pools: tuple[Pool, Pool]
    folder: Path
    block: str
    slug: str

    def payload(self) -> dict[str, Any]:
        """Return data with all that Prefect interprets somewhere, at several depths and in keys."""
        by_id, by_name = {"block_document_id": self.block}, {"block_document_slug": self.slug}
        name = self.slug.partition("/")[2]
        references = [self.block, by_id, by_name, None, {"a": 1}, "#/definitions/order", 7, [self.block]]
        return {
            "number": 17,
            "$ref": self.block,
            "references": [{"$ref": reference} for reference in references],
            "deep": {"er": [[{"and": {"deeper": {"$ref": by_id, "beside": {"$ref": self.block}}}}]]},
            "variable": {"__prefect_kind": "workspace_variable", "variable_name": "told"},
            "filled": {"__prefect_kind": "jinja", "template": "{{ 1 + 1 }}"},
            "parsed": {"__prefect_kind": "json", "value": json.dumps({"$ref": self.block})},
            "taken out": [{"__prefect_kind": "json"}, {"__prefect_kind": None}],
            "templates": [
                f"{{{{ prefect.blocks.secret.{name} }}}}",
                "{{ prefect.variables.told }}",
                "{{ $HOME }}",
                "{{ event.id }}",
                "$HOME ${HOME} %(HOME)s {HOME}",
            ],
            "{{ prefect.variables.told }}": {"$defs": {"order": {"$ref": "#/$defs/order"}}},
            "sealed": {"$ref": {"hookline_data": json.dumps({"$ref": self.block})}},
            "results": {"__prefect_type__": "x", "__class__": "prefect.blocks.system.Secret", "data": {}},
            "state": {"type": "COMPLETED", "data": {"type": "reference", "storage_key": "/etc/passwd"}},
            "characters": "\x00 \u2028 ж 😀",
        }

    def start(self, pool: Pool, entrypoint: str, parameters: dict[str, Any]) -> tuple[str, Path]:
        """Create a run as the dispatcher does; return its id and where it will write."""
        into = self.folder / f"{pool.name}-{entrypoint}.json"
        deployment = pool.deploy(PROJECT, entrypoint, enforce_parameter_schema=True)
        new = NewRun(
            deployment_id=deployment,
            idempotency_key=f"hookline:{deployment}",
            name=f"told-{pool.name}",
            tags=["event:0197a2c4-5b6d-7e8f-9a0b-1c2d3e4f5a6b"],
            parameters={**parameters, "into": str(into)},
        )
        run = pool.prefect.post(f"/deployments/{deployment}/create_flow_run", orjson.loads(new.to_json()))
        return run["id"], into


@pytest.fixture(scope="module")
def workplace(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """Give a warm worker and Prefect's process worker, a secret block and a variable."""
    folder = tmp_path_factory.mktemp("told")
    warm, stock = Pool(prefect_server, "told-warm"), Pool(prefect_server, "told-stock", "process")
    prefect = warm.prefect
    [kind] = [t for t in prefect.post("/block_types/filter", {}) if t["slug"] == "secret"]
    schemas = prefect.post(
        "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
    )
    document = {
        "name": "told", "data": {"value": SECRET},
        "block_type_id": kind["id"], "block_schema_id": schemas[0]["id"],
    }  # fmt: skip
    block = prefect.post("/block_documents/", document)["id"]
    prefect.post("/variables/", {"name": "told", "value": VARIABLE})
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    with working(prefect_server, warm.name, folder), working(prefect_server, stock.name, folder, **quick):
        yield Workplace((warm, stock), folder, block, "secret/told")


def trigger(parameters: dict[str, Any] | None) -> Trigger:
    return Trigger(
        flow="told", deployment="told", name="told", expect=("order.paid",), parameters=parameters,
        passes_event=parameters is None,
    )  # fmt: skip


def test_a_sender_reaches_no_secret(workplace: Workplace) -> None:
    """By templates and as the event, typed and not, checked and not, and in what the flow calls.

    The author's own reference to the same block is followed meanwhile.
    """
    payload = workplace.payload()
    event = make_event("order.paid", payload)
    templates = {
        "untyped": "{{ event.payload }}",
        "typed": {"whole": ["{{ event.payload }}"], "plain": "{{ event.payload.number }}"},
        "order": "{{ event.payload }}",
        "texts": ["{{ event.payload.templates[0] }}", "n {{ event.payload.parsed.value }}"],
        "block": {"$ref": {"block_document_id": workplace.block}},
    }
    runs = {}
    for pool in workplace.pools:
        of = {
            "jobs.told.told": render_parameters(trigger(templates), event),
            "jobs.told.told_unchecked": render_parameters(trigger({"untyped": "{{ event.payload }}"}), event),
            "jobs.told_event.told_event": render_parameters(trigger(None), event),
        }
        for entrypoint, parameters in of.items():
            runs[pool.name, entrypoint] = (pool, *workplace.start(pool, entrypoint, parameters))

    told = {}
    for key, (pool, run_id, into) in runs.items():
        run = pool.await_state(run_id, timeout_seconds=90)
        assert run["state_type"] == "COMPLETED", (key, run["state"]["message"], pool.logs(run_id))
        told[key] = json.loads(into.read_text())

    for pool in workplace.pools:
        assert told[pool.name, "jobs.told.told"] == {
            "untyped": payload,
            "typed": {"whole": [payload], "plain": 17},
            "order": {"number": 17, "$ref": workplace.block, "more": {}},
            "texts": [payload["templates"][0], f"n {payload['parsed']['value']}"],
            "block": SECRET,
        }
        assert told[pool.name, "jobs.told.told_unchecked"] == {"untyped": payload}
        assert told[pool.name, "jobs.told_event.told_event"] == {
            "data": payload,
            "in a task": payload,
            "in a subflow": payload,
            "data in a subflow": payload,
            "copied data in a subflow": {"copied": payload},
        }
