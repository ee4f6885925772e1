"""The schema of a flow's parameters, enforced here where Prefect's server cannot see what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from prefect.utilities.schema_tools.validation import CircularSchemaRefError, ValidationError, validate

from hookline.errors import EvaluationError, RenderError
from hookline.evaluator import evaluators
from hookline.prefect_rows import DeploymentInfo
from hookline.sealed import opened
from hookline.triggers.cost import size_of

#: Values of parameters that are checked in this process: in Python, some milliseconds for each thousand.
VALUES_HERE = 5_000
#: What Python's regular expressions, or comparing each with each, may take for ever for.
_COSTLY = (b'"pattern"', b'"patternProperties"', b'"uniqueItems"')


def check_parameters(parameters: Mapping[str, Any], deployment: DeploymentInfo) -> None:
    """Check parameters as Prefect's server does, with what is sealed opened. It blocks, for seconds at most.

    Raises
    ------
    RenderError: the deployment enforces its schema, and they do not fit it, or it takes too long to tell.
    """
    if not deployment.enforces_schema:
        return
    given = opened(dict(parameters))
    # The deployment's defaults were checked when it was deployed.
    required = [
        name
        for name in deployment.parameter_schema.get("required", ())
        if name in given or name not in deployment.parameters
    ]
    schema = {**deployment.parameter_schema, "required": required}
    written = orjson.dumps(schema)
    if size_of(given, VALUES_HERE) <= VALUES_HERE and not any(costly in written for costly in _COSTLY):
        hold_to_schema(given, schema)
        return
    try:
        evaluators("templates").ask("schema", given, schema)
    except EvaluationError as wrong:
        raise RenderError(str(wrong)) from None


def hold_to_schema(given: dict[str, Any], schema: dict[str, Any]) -> None:
    """Check parameters against a schema, however long it takes.

    Raises
    ------
    RenderError: they do not fit it.
    """
    try:
        validate(given, schema, raise_on_error=True)
    except ValidationError as wrong:
        raise RenderError(f"the parameters do not fit the flow: {wrong}") from None
    except CircularSchemaRefError:
        raise RenderError("the schema of the flow's parameters refers to itself") from None
