"""JSON Schemas that a source's events must follow. Pure once compiled."""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from hookline.errors import Refusal


class SchemaError(ValueError):
    """A JSON Schema cannot be used; the message says why."""


class Schema:
    """A compiled JSON Schema.

    Parameters
    ----------
    document: the schema. References may only lead into itself.

    Raises
    ------
    SchemaError: not a JSON Schema, or it refers to something outside.
    """

    def __init__(self, document: Any) -> None:
        self.document = document
        try:
            self._validator = jsonschema_rs.validator_for(document, retriever=_nothing_outside)
        except (ValueError, TypeError, jsonschema_rs.ReferencingError) as wrong:
            reason = str(wrong).splitlines()[0]
            raise SchemaError(f"no usable JSON Schema: {reason}") from None

    def check(self, data: Any, kind: str) -> None:
        """Hold an event's data against the schema.

        Parameters
        ----------
        data: the event's data.
        kind: the event's type, for the message.

        Raises
        ------
        Refusal: 422, with the pointer to the first fault.
        """
        fault = next(iter(self._validator.iter_errors(data)), None)
        if fault is None:
            return
        pointer = "".join(
            f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in fault.instance_path
        )
        rule = "/".join(str(step) for step in fault.schema_path)
        # The library's message quotes the value, which may be somebody's secret: name the rule instead.
        detail = f"The data does not follow the schema of {kind}: `{rule}` fails at `{pointer or '/'}`."
        raise Refusal(422, "schema", detail, pointer=pointer)


def _nothing_outside(address: str) -> Any:
    raise ValueError(f"the schema refers to {address}; write what it needs into the schema itself")
