"""What a sender might write to have Prefect give away a secret, and runs that are given it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from hookline.event import Event
from hookline.prefect_rows import NewRun
from hookline.triggers import Trigger
from hookline.triggers.rendering import render_parameters
from tests.support.prefect import PrefectHttp
from tests.support.workers import Pool

SECRET = "the secret that no sender may see"
VARIABLE = "the variable that no sender may see"


@dataclass(frozen=True)
class Treasure:
    """A secret block and a variable in a Prefect server, both of one name."""

    name: str
    block: str

    @classmethod
    def hide(cls, prefect: PrefectHttp) -> Treasure:
        """Put them into the server."""
        name = f"told{uuid.uuid4().hex[:8]}"
        [kind] = [one for one in prefect.post("/block_types/filter", {}) if one["slug"] == "secret"]
        of_kind = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
        [schema, *_] = prefect.post("/block_schemas/filter", of_kind)
        document = {
            "name": name, "data": {"value": SECRET},
            "block_type_id": kind["id"], "block_schema_id": schema["id"],
        }  # fmt: skip
        block = prefect.post("/block_documents/", document)["id"]
        prefect.post("/variables/", {"name": name, "value": VARIABLE})
        return cls(name, block)

    def payload(self) -> dict[str, Any]:
        """Return data with all that Prefect interprets somewhere, at several depths and in keys."""
        by_id = {"block_document_id": self.block}
        by_name = {"block_document_slug": f"secret/{self.name}"}
        references = [self.block, by_id, by_name, None, {"a": 1}, "#/definitions/order", 7, [self.block]]
        return {
            "number": 17,
            "$ref": self.block,
            "references": [{"$ref": reference} for reference in references],
            "deep": {"er": [[{"and": {"deeper": {"$ref": by_id, "beside": {"$ref": self.block}}}}]]},
            "variable": {"__prefect_kind": "workspace_variable", "variable_name": self.name},
            "filled": {"__prefect_kind": "jinja", "template": "{{ 1 + 1 }}"},
            "parsed": {"__prefect_kind": "json", "value": json.dumps({"$ref": self.block})},
            "taken out": [{"__prefect_kind": "json"}, {"__prefect_kind": None}],
            "templates": [
                f"{{{{ prefect.blocks.secret.{self.name} }}}}",
                f"{{{{ prefect.variables.{self.name} }}}}",
                "{{ $HOME }}",
                "{{ event.id }}",
                "$HOME ${HOME} %(HOME)s {HOME}",
            ],
            f"{{{{ prefect.variables.{self.name} }}}}": {"$defs": {"order": {"$ref": "#/$defs/order"}}},
            "sealed": {"$ref": {"hookline_data": json.dumps({"$ref": self.block})}},
            "results": {"__prefect_type__": "x", "__class__": "prefect.blocks.system.Secret", "data": {}},
            "state": {"type": "COMPLETED", "data": {"type": "reference", "storage_key": "/etc/passwd"}},
            "anywhere": [_anywhere(Random(seed), references, 6) for seed in range(40)],  # noqa: S311
            "characters": "\x00 \u2028 ж 😀",
        }


def _anywhere(random: Random, references: list[Any], depth: int) -> Any:
    """Return a tree with references and what Prefect fills in, at any depth."""
    if depth == 0 or random.random() < 0.1:
        return random.choice(["{{ 1 + 1 }}", "plain", 7, None, *references])
    parts = [_anywhere(random, references, depth - 1) for _ in range(random.randint(1, 3))]
    if random.random() < 0.4:
        return parts
    keys = random.sample(["$ref", "__prefect_kind", "value", "template", "a", "hookline_data"], len(parts))
    return dict(zip(keys, parts, strict=True))


@dataclass(frozen=True)
class Telling:
    """A flow run that writes down what it was given."""

    pool: Pool
    id: str
    into: Path

    @classmethod
    def start(
        cls,
        pool: Pool,
        deployment: str,
        folder: Path,
        event: Event,
        parameters: dict[str, Any] | None = None,
        job_variables: dict[str, Any] | None = None,
    ) -> Telling:
        """Create the run that a trigger with these parameters starts for an event, as the dispatcher does."""
        trigger = Trigger(
            flow="told", deployment="told", name="told", expect=(event.type,), parameters=parameters,
            passes_event=parameters is None,
        )  # fmt: skip
        into = folder / f"{uuid.uuid4()}.json"
        new = NewRun(
            deployment_id=deployment,
            idempotency_key=f"hookline:{into.stem}",
            name="told",
            tags=[f"event:{event.id}"],
            parameters={**render_parameters(trigger, event), "into": str(into)},
            job_variables=job_variables,
        )
        run = pool.prefect.post(f"/deployments/{deployment}/create_flow_run", orjson.loads(new.to_json()))
        return cls(pool, run["id"], into)

    def told(self) -> Any:
        """Return what the run was given, once it has ended."""
        run = self.pool.await_state(self.id, timeout_seconds=90)
        assert run["state_type"] == "COMPLETED", (run["state"]["message"], self.pool.logs(self.id))
        return json.loads(self.into.read_text())
