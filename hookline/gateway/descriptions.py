"""What each operation of the API does, takes and gives. Pure data, of which `/openapi.json` is made."""

from __future__ import annotations

from dataclasses import replace

from hookline.cloudevents import BATCH, STRUCTURED
from hookline.gateway.access import Scope
from hookline.gateway.events import PAGE_DEFAULT, PAGE_LIMIT
from hookline.gateway.operations import Answered, Operation, Parameter
from hookline.gateway.schemas import MOMENT, TEXT, ref
from hookline.gateway.waiting import LONGEST_WAIT_SECONDS

_RATES = ("RateLimit-Policy", "RateLimit")

WAIT = Parameter(
    "wait",
    "Seconds to wait for the event's runs to end, before answering.",
    {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS},
)
LIMIT = Parameter(
    "limit",
    "Maximum number.",
    {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT, "default": PAGE_DEFAULT},
)
CURSOR = Parameter("cursor", "The `next` of the previous page.", "Cursor")
EVENT_ID = Parameter("id", "The tracking id.", TEXT, "path", required=True)
_SOURCE = Parameter(
    "source",
    "A source of `deployments/sources.yaml`.",
    {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$", "examples": ["github"]},
    "path",
    required=True,
)
_TOKEN = Parameter(
    "token", "The source's URL token.", {"type": "string", "minLength": 1}, "path", required=True
)

#: What a header may hold at all.
_ANY_TEXT = {"type": "string", "pattern": "^[^\\x00-\\x08\\x0a-\\x1f\\x7f]*$"}

SEND_EVENT = Operation(
    name="sendEvent",
    summary="Send an event, or a batch of them.",
    tag="Events",
    says=(
        "Hookline's own JSON, or CloudEvents 1.0 in structured, batch and binary mode (any media type,"
        " attributes in `ce-*` headers). 202 means that the event is on the disk. An id that came before with"
        " the same body is a `duplicate` and starts nothing; with another body it is 422. Sources and types"
        " that belong to a configured source, and those that begin with `prefect.` or `hookline.`, are 403."
    ),
    scope=Scope.SEND,
    parameters=(
        WAIT,
        Parameter(
            "Idempotency-Key",
            "The id of an event that does not carry one: a quoted string, or a bare word.",
            {
                "type": "string",
                "pattern": '^("[ !#-\\[\\]-~]{1,255}"|[!#-~]{1,255})$',
                "examples": ['"order-17"'],
            },
            "header",
        ),
        Parameter(
            "traceparent",
            "W3C trace context, passed on to the run. An invalid one is ignored.",
            _ANY_TEXT,
            "header",
        ),
        Parameter(
            "tracestate",
            "W3C trace state, passed on with it. Ignored if invalid or sent without `traceparent`.",
            _ANY_TEXT,
            "header",
        ),
    ),
    bodies={"application/json": "NewEvent", STRUCTURED: "CloudEvent", BATCH: "CloudEventBatch"},
    answers={
        202: Answered(
            "Stored on disk. With `wait`, the tracking document at the end of the wait.",
            {"oneOf": [ref("Accepted"), ref("TrackingDocument"), ref("AcceptedBatch")]},
            headers=("Location", *_RATES),
        )
    },
    refusals=(413, 415, 422, 429),
)
ASK_PERMISSION = Operation(
    name="askPermission",
    summary="Ask whether events may be sent here.",
    tag="Events",
    says=(
        "CloudEvents' abuse protection: with `WebHook-Request-Origin` the answer grants a rate. It needs no"
        " key, and lets nobody in without one."
    ),
    parameters=(
        Parameter(
            "WebHook-Request-Origin",
            "Who asks.",
            {"type": "string", "pattern": "^[!-~]{1,255}$", "examples": ["events.example.com"]},
            "header",
        ),
        Parameter(
            "WebHook-Request-Rate",
            "The wanted requests a minute, or `*`.",
            {"type": "string", "pattern": r"^([1-9][0-9]{0,8}|\*)$"},
            "header",
        ),
    ),
    answers={
        200: Answered("Granted.", headers=("Allow", "WebHook-Allowed-Origin", "WebHook-Allowed-Rate")),
        204: Answered("No origin was given; `Allow` lists the methods.", headers=("Allow",)),
    },
)
SEARCH_EVENTS = Operation(
    name="searchEvents",
    summary="Search events, newest first.",
    tag="Events",
    scope=Scope.READ,
    parameters=(
        Parameter("type", "A type, or a prefix with a trailing `*`.", TEXT),
        Parameter("source", "A source.", TEXT),
        Parameter("subject", "A subject.", TEXT),
        Parameter("status", "A status.", "EventStatus"),
        Parameter("since", "Accepted at this time or later.", MOMENT),
        Parameter("until", "Accepted before this time.", MOMENT),
        Parameter(
            "id",
            "The id, or its end as pages and run names show it; looked for among the newest million events.",
            {"type": "string", "pattern": r"^[0-9A-Fa-f-]{4,36}$"},
        ),
        LIMIT,
        CURSOR,
    ),
    answers={200: Answered("A page.", "EventPage")},
)
READ_EVENT = Operation(
    name="readEvent",
    summary="See what happened to an event.",
    tag="Events",
    says="The tracking document; a browser gets a page. With `wait` it comes when the runs have ended.",
    scope=Scope.READ,
    parameters=(EVENT_ID, WAIT),
    answers={200: Answered("The tracking document.", "TrackingDocument")},
    refusals=(404,),
)
READ_BODY = Operation(
    name="readBody",
    summary="Get the bytes that were received.",
    tag="Events",
    says=(
        "Octets of any media type: byte for byte as they came, decompressed, under the Content-Type that they"
        " came with, or application/octet-stream. The token of a claim check opens it as well."
    ),
    scope=Scope.READ,
    parameters=(EVENT_ID,),
    answers={200: Answered("The octets.", {}, "*/*", headers=("Hookline-Body-Format",))},
    refusals=(404,),
)
DELIVER = Operation(
    name="deliverWebhook",
    summary="Deliver a webhook.",
    tag="Webhooks",
    says=(
        "For providers. What has to be signed, how an event is named and what the answer looks like is the"
        " source's recipe; docs/sources.md has them all. No API key is asked for."
    ),
    parameters=(_SOURCE,),
    bodies={"*/*": {}},
    body_required=False,
    answers={
        200: Answered(
            "As the provider expects it: an acknowledgement, or the answer to its handshake.", {}, "*/*"
        ),
        202: Answered(
            "On the disk.", {"oneOf": [ref("Accepted"), ref("AcceptedBatch")]}, headers=("Location", *_RATES)
        ),
        204: Answered("As the provider expects it."),
    },
    refusals=(401, 403, 404, 405, 410, 413, 415, 422, 429),
)
SHAKE_HANDS = Operation(
    name="answerHandshake",
    summary="Answer a provider's handshake.",
    tag="Webhooks",
    says="Some providers check the address before they send. Anything other than a handshake is 405.",
    parameters=(_SOURCE,),
    answers={200: Answered("What the provider asked for.", {}, "*/*"), 204: Answered("Agreed.")},
    refusals=(401, 404, 405, 410, 413, 415),
)
ASK_SOURCE = replace(
    SHAKE_HANDS,
    summary="Answer a provider that asks whether it may send.",
    says="CloudEvents' abuse protection, for providers that use it. Anything else is 405.",
    answers={
        200: Answered("Granted.", headers=("Allow", "WebHook-Allowed-Origin", "WebHook-Allowed-Rate")),
        204: Answered("Agreed."),
    },
)
READ_REJECTIONS = Operation(
    name="readRejections",
    summary="List rejected requests, with the reason.",
    tag="Events",
    says="Newest first; the newest 10,000 are kept.",
    scope=Scope.READ,
    parameters=(LIMIT, CURSOR),
    answers={200: Answered("A page.", "RejectionPage")},
)
LIST_SOURCES = Operation(
    name="listSources",
    summary="See which sources there are, and whether they are ready.",
    tag="Service",
    says=(
        "In the order of `deployments/sources.yaml`, as loaded by this gateway. Secrets are never shown. If"
        " the file is invalid, `error` says why, and the previous sources stay in force."
    ),
    scope=Scope.READ,
    answers={200: Answered("All sources.", "SourceList")},
)
RELOAD_SOURCES = Operation(
    name="reloadSources",
    summary="Reload the sources file now.",
    tag="Service",
    says="The gateway reloads it automatically within two seconds of a change to it or to a secret file.",
    scope=Scope.ADMIN,
    answers={200: Answered("What changed.", "SourceChange")},
    refusals=(409,),
)
READ_LINEAGE = Operation(
    name="readLineage",
    summary="See what led to an event, run or asset, and what followed from it.",
    tag="Lineage",
    scope=Scope.READ,
    parameters=(
        Parameter("kind", "Of what.", {"enum": ["event", "run", "asset"]}, "path", required=True),
        Parameter(
            "id",
            "Its id; an asset's key may be percent-encoded.",
            {"type": "string", "minLength": 1},
            "path",
            required=True,
        ),
        Parameter("direction", "Direction to follow.", {"enum": ["up", "down", "both"], "default": "both"}),
        Parameter("depth", "Steps.", {"type": "integer", "minimum": 1, "maximum": 128, "default": 128}),
        Parameter(
            "through_assets",
            "Continue from an asset to the runs that read it later.",
            {"type": "boolean", "default": False},
        ),
        Parameter("tasks", "Include task runs.", {"type": "boolean", "default": True}),
        Parameter(
            "nodes",
            "Maximum number of nodes.",
            {"type": "integer", "minimum": 1, "maximum": 20_000, "default": 5_000},
        ),
    ),
    answers={200: Answered("The graph.", "Graph")},
    refusals=(404,),
)
HEALTHZ = Operation(
    name="isAlive",
    summary="Check that the process is alive.",
    tag="Service",
    answers={200: Answered("The process is alive.", "Health")},
)
READYZ = Operation(
    name="isReady",
    summary="Check that events can be accepted.",
    tag="Service",
    says="Independent of Prefect: while it is unavailable, events are accepted and wait.",
    answers={
        200: Answered("Ready.", "Readiness"),
        503: Answered("`inbox` says why not.", "Readiness"),
    },
)
READ_OPENAPI = Operation(
    name="readOpenapi",
    summary="Get this description.",
    tag="Service",
    scope=Scope.READ,
    answers={200: Answered("OpenAPI 3.1.", {"type": "object"})},
)
READ_DOCS = Operation(
    name="readDocs",
    summary="Read this description as a page.",
    tag="Service",
    scope=Scope.READ,
    answers={200: Answered("A page.", TEXT, "text/html")},
)
