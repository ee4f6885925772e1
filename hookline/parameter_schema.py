"""The schema of a flow's parameters, enforced here where Prefect's server cannot see what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.utilities.schema_tools.validation import CircularSchemaRefError, ValidationError, validate

from hookline.errors import RenderError
from hookline.prefect_rows import DeploymentInfo
from hookline.sealed import opened


def check_parameters(parameters: Mapping[str, Any], deployment: DeploymentInfo) -> None:
    """Check parameters as Prefect's server does, with what is sealed opened.

    Raises
    ------
    RenderError: the deployment enforces its schema, and they do not fit it.
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
    try:
        validate(given, {**deployment.parameter_schema, "required": required}, raise_on_error=True)
    except ValidationError as wrong:
        raise RenderError(f"the parameters do not fit the flow: {wrong}") from None
    except CircularSchemaRefError:
        raise RenderError("the schema of the flow's parameters refers to itself") from None
