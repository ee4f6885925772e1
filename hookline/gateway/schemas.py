"""The JSON Schemas that `/openapi.json` names, and the headers that answers carry. Pure data."""

from __future__ import annotations

from typing import Any

from hookline.inbox import DispatchStatus, EventStatus

Schema = dict[str, Any]

ID: Schema = {"type": "string", "format": "uuid", "description": "A UUIDv7 in its text form."}
MOMENT: Schema = {"type": "string", "format": "date-time"}
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}

#: No control characters; the gateway counts bytes, at most 1024.
_WORD: Schema = {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$"}
_TYPE: Schema = {
    **_WORD,
    "pattern": r"^[^\s\x00-\x1f\x7f-\x9f]+$",
    "description": "What happened: without blanks, and without characters that are not seen.",
}


def nullable(schema: Schema) -> Schema:
    """Return a schema that takes null as well."""
    if "$ref" in schema:
        return {"oneOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def ref(name: str) -> Schema:
    """Return a reference to a schema of this module."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def exactly(**members: Schema) -> Schema:
    """Return the schema of an object that has just these members, those of `_SOMETIMES` where they apply."""
    return {
        "type": "object",
        "properties": members,
        "required": [name for name in members if name not in _SOMETIMES],
        "additionalProperties": False,
    }


_SOMETIMES = frozenset(("erased",))

_SUMMARY = {
    "id": {**ID, "description": "The tracking id."},
    "source": {**TEXT, "description": "The source it came from."},
    "source_id": nullable({**TEXT, "description": "The sender's own id."}),
    "type": TEXT,
    "subject": nullable(TEXT),
    "time": {**MOMENT, "description": "When it happened, according to the sender."},
    "status": ref("EventStatus"),
    "duplicates": {**COUNT, "description": "Number of duplicate deliveries."},
    "erased": {**MOMENT, "description": "When a person's data was erased from it, if it was."},
}

SCHEMAS: dict[str, Schema] = {
    "NewEvent": {
        "type": "object",
        "description": "An event in Hookline's own JSON.",
        "properties": {
            "type": {**_TYPE, "examples": ["order.placed"]},
            "source": {**nullable(_WORD), "description": "Where it comes from; by default the key's name."},
            "subject": {**nullable(_WORD), "description": "What it happened to."},
            "id": {**nullable(_WORD), "description": "Your own id; each is accepted once a key."},
            "time": {**nullable(MOMENT), "description": "When it happened; an offset is required."},
            "data": {"description": "The payload, any JSON."},
            "cause": {
                "description": "The run that sends it; `hookline.send` fills it in.",
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {
                            name: nullable(
                                {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[ -~]+$"}
                            )
                            for name in ("event", "flow_run", "task_run")
                        },
                        "additionalProperties": False,
                    },
                    {"type": "null"},
                ],
            },
        },
        "required": ["type"],
        "additionalProperties": False,
        "examples": [{"type": "order.placed", "subject": "order-17", "data": {"amount": 12.5}}],
    },
    "CloudEvent": {
        "type": "object",
        "description": "A CloudEvent 1.0 in its JSON form. Further attributes are extensions.",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": _WORD,
            "source": {**_WORD, "format": "uri-reference"},
            "type": _TYPE,
            "subject": _WORD,
            "time": MOMENT,
            "datacontenttype": {"type": "string", "pattern": r"^[\w.+-]+/[\w.+-]+$", "maxLength": 255},
            "dataschema": {"type": "string", "format": "uri", "maxLength": 1024},
            "data": {"description": "The payload, any JSON."},
            "data_base64": {"type": "string", "contentEncoding": "base64"},
        },
        "required": ["specversion", "id", "source", "type"],
        "not": {"required": ["data", "data_base64"]},
        "examples": [
            {"specversion": "1.0", "id": "17", "source": "/shop", "type": "order.placed", "data": {"n": 1}}
        ],
    },
    "CloudEventBatch": array(ref("CloudEvent")),
    "Accepted": exactly(
        id={**ID, "description": "The tracking id; of a duplicate, that of the first."},
        status={"enum": ["accepted", "duplicate"]},
    ),
    "AcceptedBatch": exactly(events=array({"oneOf": [ref("Accepted"), ref("TrackingDocument")]})),
    "EventStatus": {
        "enum": [status.value for status in EventStatus],
        "description": (
            "The first that applies: `accepted` (not yet matched with the triggers), `pending` (a dispatch"
            " waits), `dead` (one failed for good), `dispatched` (one started a run), else `ignored`."
        ),
    },
    "DispatchStatus": {"enum": [status.value for status in DispatchStatus]},
    "FlowRun": exactly(
        id=TEXT,
        name=nullable(TEXT),
        deployment=TEXT,
        state=nullable({**TEXT, "description": "Prefect's state type, or GONE for a run that was deleted."}),
        url={**TEXT, "description": "Its page in the Prefect UI."},
        as_of=nullable(MOMENT),
    ),
    "Dispatch": exactly(
        id=ID,
        trigger={**TEXT, "description": "`flow/deployment/name`"},
        replay={**COUNT, "description": "0 is the original."},
        status=ref("DispatchStatus"),
        attempts=COUNT,
        reason=nullable({**TEXT, "description": "Why it waits, was filtered or is dead."}),
        merged_into=nullable(ID),
        flow_run=nullable(ref("FlowRun")),
    ),
    "Receipt": exactly(
        **{
            step: nullable(MOMENT)
            for step in ("accepted", "routed", "run_created", "run_started", "first_task", "finished")
        }
    ),
    "Cause": {
        "type": "object",
        "properties": {
            "kind": {"enum": ["event", "schedule", "automation", "parent", "manual", "unknown"]},
            "event": nullable(TEXT),
            "flow_run": nullable(TEXT),
        },
        "required": ["kind", "event", "flow_run"],
    },
    "TrackingDocument": exactly(
        **_SUMMARY,
        explanation=nullable({**TEXT, "description": "Why it was ignored, or is not matched yet."}),
        dispatches=array(ref("Dispatch")),
        receipt=ref("Receipt"),
        cause=nullable(ref("Cause")),
        effects={**array(ID), "description": "Events sent by its runs."},
    ),
    "EventPage": exactly(events=array(exactly(**_SUMMARY, accepted=MOMENT)), next=nullable(ref("Cursor"))),
    "Cursor": {
        "type": "string",
        "description": "The `next` of the previous page.",
        "pattern": "^[A-Za-z0-9_-]{48}$",
    },
    "Rejection": exactly(
        id=ID,
        at=MOMENT,
        door={
            **TEXT,
            "description": "`events`, `webhooks/<source>`, or `connection` before it was a request.",
        },
        remote={**TEXT, "description": "Address of the sender."},
        status={"type": "integer"},
        reason={**TEXT, "description": "A short stable word."},
        detail=TEXT,
        size={**COUNT, "description": "Bytes that the sender announced."},
    ),
    "RejectionPage": exactly(rejections=array(ref("Rejection")), next=nullable(ref("Cursor"))),
    "SourceList": exactly(
        file={**nullable(TEXT), "description": "The sources file."},
        since={**MOMENT, "description": "When they took effect."},
        error={**nullable(TEXT), "description": "Why the file is invalid, or null."},
        development=array({**TEXT, "description": "A variable whose secret was generated for development."}),
        sources=array(ref("Source")),
    ),
    "SourceChange": exactly(added=array(TEXT), removed=array(TEXT), changed=array(TEXT), sources=array(TEXT)),
    "Source": exactly(
        name=TEXT,
        recipe={**TEXT, "description": "A built-in recipe, or `inline`."},
        verified={"type": "boolean", "description": "The recipe passes one of the provider's own examples."},
        state={"enum": ["ready", "not ready", "retired"]},
        types={**TEXT, "description": "Prefix of its event types."},
        path={**TEXT, "description": "The path the provider sends to; `<token>` stands for its URL token."},
        secrets={**array(TEXT), "description": "Variables and files that contain its secrets."},
        faults={**array(TEXT), "description": "What is missing or wrong."},
    ),
    "Graph": {
        "type": "object",
        "description": "Nodes and edges, described in docs/lineage.md.",
        "properties": {
            "root": TEXT,
            "truncated": {"type": "boolean"},
            "nodes": array(
                {
                    "type": "object",
                    "properties": {"key": TEXT, "kind": TEXT, "id": TEXT, "name": TEXT},
                    "required": ["key", "kind", "id", "name"],
                }
            ),
            "edges": array(exactly(source=TEXT, target=TEXT, link=TEXT)),
        },
        "required": ["root", "truncated", "nodes", "edges"],
    },
    "Health": exactly(
        status={"const": "ok"},
        instance={**TEXT, "description": "Tells this system from others; another one after each start."},
    ),
    "Readiness": {
        "type": "object",
        "properties": {
            "status": {"enum": ["ready", "not ready"]},
            "inbox": TEXT,
            "prefect": TEXT,
            "triggers": {
                "type": ["string", "null"],
                "description": "The version in force.",
            },
            "sources": {**TEXT, "description": "`ok`, or a note that the file is invalid."},
        },
        "required": ["status", "inbox", "prefect", "triggers", "sources"],
    },
    "Problem": {
        "type": "object",
        "description": "A problem document (RFC 9457). `reason` is stable, `detail` is for people.",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": TEXT,
            "reason": {"type": "string", "pattern": "^[a-z0-9-]+$"},
            "pointer": {**TEXT, "description": "A JSON pointer to the fault in the body."},
        },
        "required": ["type", "title", "status", "detail", "reason"],
        "additionalProperties": False,
    },
}

HEADERS: dict[str, Schema] = {
    "Location": {
        "description": "Where the event is tracked.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "RateLimit-Policy": {"description": "The quota and its window in seconds.", "schema": TEXT},
    "RateLimit": {
        "description": "Remaining quota, and seconds until all of it is available again.",
        "schema": TEXT,
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "WWW-Authenticate": {"description": "How to identify.", "schema": TEXT},
    "Allow": {"description": "The allowed methods.", "schema": TEXT},
    "WebHook-Allowed-Origin": {"description": "Who may send.", "schema": TEXT},
    "WebHook-Allowed-Rate": {"description": "How many requests a minute, or `*`.", "schema": TEXT},
    "Hookline-Body-Format": {"description": "How the data is encoded in the body.", "schema": TEXT},
}
