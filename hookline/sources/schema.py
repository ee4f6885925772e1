"""JSON Schemas that a source's events must follow.

A schema is compiled with an engine for regular expressions that takes linear time. What it takes to hold an
event against it is bounded by the schema's size times the event's, as measured; where that is too much, the
evaluator does it, within its processor time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from hookline.errors import EvaluationError, Refusal
from hookline.evaluator import evaluators
from hookline.triggers.cost import size_of

#: Keywords times values that are checked where others have to wait for it: 5 ms at most, as measured.
CHECKED_HERE = 40_000
#: Events that wait for the evaluator at the same time, for each schema.
WAITING = 8

_NO_PATTERN = ' is not a "regex"'
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
#: A fault as it is handed over between processes: where it is in the data, and the rule in the schema.
_Fault = tuple[str, str]


class SchemaError(ValueError):
    """A JSON Schema cannot be used; the message says why."""


class Schema:
    """A compiled JSON Schema.

    Parameters
    ----------
    document: the schema. References may only lead into itself.

    Raises
    ------
    SchemaError: not a JSON Schema, it refers to something outside, or has a pattern that may search for ever.
    """

    def __init__(self, document: Any) -> None:
        self.document = document
        self._validator = _compile(document)
        keywords, refers = _measure(document)
        self._values = CHECKED_HERE // max(keywords, 1)
        # Where references meet alternatives, there may be more ways to fail than can be gone through.
        self._faults_here = not refers
        self._waiting = 0

    async def check(self, data: Any, kind: str) -> None:
        """Hold an event's data against the schema.

        Parameters
        ----------
        data: the event's data.
        kind: the event's type, for the message.

        Raises
        ------
        Refusal: 422, with the pointer to the first fault; 503, too many events wait for it already.
        """
        is_small = size_of(data, self._values) <= self._values
        if is_small and self._validator.is_valid(data):
            return
        if is_small and self._faults_here:
            fault = _first_fault(self._validator, data)
        else:
            fault = await self._ask(data, kind)
        if fault is None:
            return
        pointer, rule = fault
        # The library's message quotes the value, which may be somebody's secret: name the rule instead.
        detail = f"The data does not follow the schema of {kind}: `{rule}` fails at `{pointer or '/'}`."
        raise Refusal(422, "schema", detail, pointer=pointer)

    async def _ask(self, data: Any, kind: str) -> _Fault | None:
        if self._waiting >= WAITING:
            detail = f"Too many events of {kind} wait to be held against its schema; send it again."
            raise Refusal(503, "busy", detail, headers={"Retry-After": "1"})
        self._waiting += 1
        schemas = evaluators("schemas")
        try:
            fault: _Fault | None = await schemas.in_thread(
                lambda: schemas.ask(orjson.dumps(self.document), data)
            )
            return fault
        except EvaluationError as wrong:
            detail = f"The data cannot be held against the schema of {kind}: {wrong}."
            raise Refusal(422, "schema", detail) from None
        finally:
            self._waiting -= 1


def find_fault(document: bytes, data: Any) -> _Fault | None:
    """Return where data does not follow a schema, given as JSON text, or None; however long it takes."""
    validator = _compile_once(document)
    return None if validator.is_valid(data) else _first_fault(validator, data)


@lru_cache(maxsize=64)
def _compile_once(document: bytes) -> jsonschema_rs.Validator:
    return _compile(orjson.loads(document))


def _compile(document: Any) -> jsonschema_rs.Validator:
    linear = jsonschema_rs.RegexOptions()
    try:
        return jsonschema_rs.validator_for(document, retriever=_nothing_outside, pattern_options=linear)
    except (ValueError, TypeError, jsonschema_rs.ReferencingError) as wrong:
        reason = str(wrong).splitlines()[0]
        if reason.endswith(_NO_PATTERN):
            reason = (
                f"{reason.removesuffix(_NO_PATTERN)} cannot be used as a pattern: it may not look ahead or"
                " back (`(?=`, `(?!`, `(?<`, `\\1`), because a sender could make that search for ever"
            )
        raise SchemaError(f"no usable JSON Schema: {reason}") from None


def _first_fault(validator: jsonschema_rs.Validator, data: Any) -> _Fault | None:
    try:
        validator.validate(data)
    except jsonschema_rs.ValidationError as fault:
        pointer = "".join(
            f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in fault.instance_path
        )
        return pointer, "/".join(str(step) for step in fault.schema_path)
    return None


def _measure(document: Any) -> tuple[int, bool]:
    """Return how many keywords a schema has, and whether it refers to parts of itself."""
    keywords, refers, waiting = 0, False, [document]
    while waiting:
        match waiting.pop():
            case dict() as part:
                keywords += len(part)
                refers = refers or not _REFERENCES.isdisjoint(part)
                waiting.extend(part.values())
            case list() as parts:
                waiting.extend(parts)
            case _:
                pass
    return keywords, refers


def _nothing_outside(address: str) -> Any:
    raise ValueError(f"the schema refers to {address}; write what it needs into the schema itself")
