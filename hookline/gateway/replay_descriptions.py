"""What the operations of replays and dead letters do, take and give. Pure data, for `/openapi.json`."""

from __future__ import annotations

from typing import Any

from hookline.gateway.access import Scope
from hookline.gateway.descriptions import CURSOR, EVENT_ID, LIMIT
from hookline.gateway.operations import Answered, Operation, Parameter
from hookline.gateway.schemas import COUNT, ID, MOMENT, TEXT, array, exactly, nullable
from hookline.inbox import DispatchStatus, EventStatus

_WORD: dict[str, Any] = {
    "type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[^\\x00-\\x1f\\x7f]+$"
}  # fmt: skip
_FLAG: dict[str, Any] = {"type": "boolean", "default": False}
_RATE: dict[str, Any] = {
    "type": "number", "minimum": 0.001, "maximum": 10_000, "description": "Maximum events per second."
}  # fmt: skip
_TRIGGER = {**_WORD, "description": "Only this trigger, `flow/deployment/name`."}
_DRY_RUN = {**_FLAG, "description": "Report what would start, without starting anything."}


def _wishes(**members: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: nullable(schema) for name, schema in members.items()},
        "additionalProperties": False,
    }


_SEARCH = {
    "type": {**_WORD, "description": "A type, or a prefix with a trailing `*`."},
    "source": _WORD,
    "subject": _WORD,
    "since": {**MOMENT, "description": "With an offset; inclusive."},
    "until": {**MOMENT, "description": "With an offset; exclusive."},
}
_PREVIEW = exactly(
    dry_run={"const": True},
    events={**COUNT, "description": "Number of events examined."},
    complete={"type": "boolean", "description": "The numbers are complete."},
    would_start={"type": "object", "additionalProperties": COUNT, "description": "Runs by trigger."},
    would_die={
        "type": "object",
        "additionalProperties": COUNT,
        "description": "Dispatches by trigger that would be dead at once, such as those whose parameters do"
        " not fit the flow.",
    },
    without_match={**COUNT, "description": "Events that no current trigger would start."},
    without_body={**COUNT, "description": "Events whose data has been pruned."},
    outcomes=array(
        exactly(
            event=ID,
            type=TEXT,
            trigger=TEXT,
            starts={"type": "boolean"},
            dies={"type": "boolean"},
            reason=nullable({**TEXT, "description": "Why it starts nothing: filtered, or it would be dead."}),
        )
    ),
)
_MADE = exactly(
    id=ID,
    dispatches=array(
        exactly(
            id=ID,
            trigger=TEXT,
            replay=COUNT,
            status={"enum": [each.value for each in DispatchStatus]},
            reason=nullable(TEXT),
        )
    ),
)
_REPLAY = exactly(
    id=ID,
    of={"enum": ["events", "dead"]},
    status={"enum": ["running", "done", "cancelled"]},
    search={"type": "object", "additionalProperties": TEXT},
    trigger=nullable(TEXT),
    rate=nullable({"type": "number"}),
    created=MOMENT,
    finished=nullable(MOMENT),
    events={**COUNT, "description": "Number done."},
    dispatches={**COUNT, "description": "Number created."},
    without_match=COUNT,
    without_body=COUNT,
)
_LETTER = exactly(
    id={**ID, "description": "The dispatch's id."},
    event={**ID, "description": "The event's tracking id."},
    trigger=TEXT,
    replay=COUNT,
    attempts=COUNT,
    reason=nullable(TEXT),
    response=nullable({**TEXT, "description": "What Prefect answered, shortened."}),
    at=nullable(MOMENT),
)
_REPLAY_ID = Parameter("id", "The replay's id.", TEXT, "path", required=True)
_DISPATCH_ID = Parameter("id", "The dispatch's id.", TEXT, "path", required=True)
_STARTED_OR_NOT = {
    200: Answered("A dry run: what would start.", _PREVIEW),
    202: Answered("Begun; `Location` says how far it is.", _REPLAY, headers=("Location",)),
}
_MADE_OR_NOT = {
    200: Answered("A dry run: what would start.", _PREVIEW),
    202: Answered("The dispatches that were made.", _MADE, headers=("Location",)),
}

REPLAY_EVENT = Operation(
    name="replayEvent",
    summary="Replay one event through the triggers that are in force now.",
    tag="Replay",
    says="Creates new dispatches with the next replay number. A replayed dead letter is no longer dead.",
    scope=Scope.ADMIN,
    parameters=(EVENT_ID,),
    bodies={"application/json": _wishes(trigger=_TRIGGER, dry_run=_DRY_RUN)},
    body_required=False,
    answers=_MADE_OR_NOT,
    refusals=(404, 409, 413, 415),
)
BEGIN_REPLAY = Operation(
    name="beginReplay",
    summary="Replay all events of a search, in order of arrival.",
    tag="Replay",
    says=(
        "Up to the moment at which it is asked for. It goes on by itself, also after a restart, and replays"
        " no event twice. Without any part of a search it is all events."
    ),
    scope=Scope.ADMIN,
    bodies={
        "application/json": _wishes(
            **_SEARCH,
            status={"type": "string", "enum": [each.value for each in EventStatus]},
            trigger=_TRIGGER,
            rate=_RATE,
            dry_run=_DRY_RUN,
        )
    },
    body_required=False,
    answers=_STARTED_OR_NOT,
    refusals=(404, 413, 415),
)
LIST_REPLAYS = Operation(
    name="listReplays",
    summary="List the newest replays of many events.",
    tag="Replay",
    scope=Scope.READ,
    answers={200: Answered("Newest first.", exactly(replays=array(_REPLAY)))},
)
READ_REPLAY = Operation(
    name="readReplay",
    summary="See the progress of a replay.",
    tag="Replay",
    scope=Scope.READ,
    parameters=(_REPLAY_ID,),
    answers={200: Answered("The replay.", _REPLAY)},
    refusals=(404,),
)
CANCEL_REPLAY = Operation(
    name="cancelReplay",
    summary="Stop a replay; what it has started is kept.",
    tag="Replay",
    scope=Scope.ADMIN,
    parameters=(_REPLAY_ID,),
    answers={200: Answered("The replay as it is now.", _REPLAY)},
    refusals=(404,),
)
LIST_DEAD = Operation(
    name="listDeadLetters",
    summary="List dispatches that failed for good and have not been replayed.",
    tag="Replay",
    scope=Scope.READ,
    parameters=(Parameter("trigger", "Only of this trigger.", _WORD), LIMIT, CURSOR),
    answers={200: Answered("A page, newest first.", exactly(dead=array(_LETTER), next=nullable(TEXT)))},
)
REPLAY_DEAD_LETTER = Operation(
    name="replayDeadLetter",
    summary="Replay one dead letter through the current form of its trigger.",
    tag="Replay",
    scope=Scope.ADMIN,
    parameters=(_DISPATCH_ID,),
    bodies={"application/json": _wishes(dry_run=_DRY_RUN)},
    body_required=False,
    answers=_MADE_OR_NOT,
    refusals=(404, 409, 413, 415),
)
REPLAY_DEAD = Operation(
    name="replayDeadLetters",
    summary="Replay all dead letters of a search, each through its trigger.",
    tag="Replay",
    says="`since` and `until` are bounds of the time at which a dispatch was made.",
    scope=Scope.ADMIN,
    bodies={"application/json": _wishes(**_SEARCH, trigger=_TRIGGER, rate=_RATE, dry_run=_DRY_RUN)},
    body_required=False,
    answers=_STARTED_OR_NOT,
    refusals=(404, 413, 415),
)
