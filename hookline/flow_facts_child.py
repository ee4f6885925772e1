"""The process that imports a project's flows: `python -m hookline.flow_facts_child ENTRYPOINT...`.

With the project as working directory, it writes one JSON object to standard output:
entrypoint -> `{"name": ..., "schema": ...}`, or `{"error": ...}` for a flow that cannot be imported.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import orjson
from prefect.exceptions import ScriptError
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema


def main(entrypoints: list[str]) -> None:
    """Write what the flows say to standard output."""
    answer = os.dup(1)
    # What the user's modules print must not mix with the answer.
    os.dup2(2, 1)
    said = {entrypoint: _ask(entrypoint) for entrypoint in entrypoints}
    with os.fdopen(answer, "wb") as out:
        out.write(orjson.dumps(said))


def _ask(entrypoint: str) -> dict[str, Any]:
    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint)
        return {"name": flow.name, "schema": parameter_schema(flow).model_dump_for_openapi()}
    except Exception as wrong:
        # Anything may come out of the user's code; whatever it is, it is told as it is.
        cause = wrong.user_exc if isinstance(wrong, ScriptError) else wrong
        return {"error": f"{type(cause).__name__}: {cause}"}


if __name__ == "__main__":
    main(sys.argv[1:])
