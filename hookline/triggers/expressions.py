"""CEL over an event: conditions (`where`), keys and times. Compiled once; evaluation has no side effects."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import cel
import orjson

from hookline.errors import EvaluationError, TriggerError
from hookline.event import Event, rfc3339
from hookline.triggers.cost import exceeds, largest_size
from hookline.triggers.trigger import Delay

#: What an expression may name. `event` is the whole event as an object.
VARIABLES = (
    "id", "type", "source", "source_id", "subject", "time", "accepted", "data", "event",
)  # fmt: skip

#: Parsing is linear in the source, so its length bounds the cost of an expression.
MAX_SOURCE_LENGTH = 4096
#: Keys go into an index; a longer one is replaced by its digest.
MAX_KEY_LENGTH = 200

_MAX_REASON_LENGTH = 200
_TYPE_NAMES = frozenset(
    {"int", "uint", "double", "string", "bytes", "bool", "list", "map", "null_type", "type"}
)
_FUNCTIONS = frozenset({
    "size", "string", "int", "uint", "double", "bytes", "type", "dyn", "duration", "timestamp", "of",
    "contains", "startsWith", "endsWith", "matches", "getDate", "getFullYear", "getMonth", "getDayOfMonth",
    "getDayOfYear", "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
})  # fmt: skip
_UNDEFINED = re.compile(r"Undefined variable or function: '(\w+)'")
_BOUND_BY_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")


def check_expression(source: object) -> str:
    """Return an expression's source if it can be compiled and names only what exists.

    Raises
    ------
    TriggerError: not text, too long, not CEL, or it names an unknown variable or function.
    """
    if not isinstance(source, str) or not source.strip():
        raise TriggerError(
            f"{source!r} is not a CEL expression; write it as text, in quotes where YAML needs them"
        )
    if len(source) > MAX_SOURCE_LENGTH:
        raise TriggerError(
            f"the expression has {len(source)} characters; at most {MAX_SOURCE_LENGTH} are allowed"
        )
    try:
        program = _compile(source).program
    except ValueError as wrong:
        raise TriggerError(f"{source!r} is not CEL: {_syntax_fault(wrong)}") from None
    names = program.references()
    bound = set(_BOUND_BY_MACRO.findall(source))
    unknown = [
        name
        for name in names["variables"]
        if name not in bound and name not in VARIABLES and name not in _TYPE_NAMES
    ]
    if unknown:
        raise TriggerError(
            f"{source!r} names {unknown[0]!r}, which an event does not have; use {', '.join(VARIABLES)}"
        )
    # Operators are listed as functions too; their names are no identifiers.
    foreign = [
        name
        for name in names["functions"]
        if name.isidentifier() and name not in _FUNCTIONS and name[0] != "_"
    ]
    if foreign:
        raise TriggerError(
            f"{source!r} calls {foreign[0]!r}, which is no CEL function here; see docs/triggers.md"
        )
    return source


class Scope:
    """One event as CEL sees it. What expressions name of it is converted once, on the first evaluation."""

    __slots__ = ("_contexts", "_event")

    def __init__(self, event: Event) -> None:
        self._event = event
        self._contexts: dict[frozenset[str], cel.Context] = {}

    def evaluate(self, source: str) -> Any:
        """Return what the expression gives for this event.

        Raises
        ------
        EvaluationError: a field is missing, types do not fit, or the like; says what.
        """
        limit = largest_size(source)
        if limit is not None and exceeds(self._event.data, limit):
            raise EvaluationError(
                f"the event has more than {limit} elements, too many for an expression that goes over the"
                " event again for each of them"
            )
        try:
            compiled = _compile(source)
            return compiled.program.execute(self._context(compiled.large))
        except KeyError as missing:
            raise EvaluationError(f"the event has no {_shorten(str(missing.args[0]))!r}") from None
        except Exception as wrong:
            # The library raises whatever Python error fits; none of them may stop other triggers.
            raise EvaluationError(_fault(wrong)) from None

    def _context(self, large: frozenset[str]) -> cel.Context:
        context = self._contexts.get(large)
        if context is None:
            variables = _small_variables(self._event)
            if "data" in large:
                variables["data"] = self._event.data
            if "event" in large:
                variables["event"] = {**_small_variables(self._event), "data": self._event.data}
            context = self._contexts[large] = cel.Context(variables)
        return context


def evaluate_key(source: str | None, event: Event) -> str:
    """Return the key that an expression gives for an event: text as it is, anything else as JSON.

    Parameters
    ----------
    source: the CEL source, or None for the one key "" that all events share.

    Raises
    ------
    EvaluationError: the expression cannot be evaluated for this event.
    """
    if source is None:
        return ""
    value = Scope(event).evaluate(source)
    if isinstance(value, datetime):
        value = rfc3339(value)
    try:
        key = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        raise EvaluationError(f"the key is {type(value).__name__}, which has no JSON form") from None
    if len(key) <= MAX_KEY_LENGTH:
        return key
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def evaluate_time(source: str, event: Event) -> datetime:
    """Return the time that an expression gives for an event: a timestamp, RFC 3339 text or Unix seconds.

    Raises
    ------
    EvaluationError: the expression cannot be evaluated, or gives no time with an offset.
    """
    value = Scope(event).evaluate(source)
    try:
        match value:
            case datetime():
                moment = value
            case str():
                moment = datetime.fromisoformat(value)
            case int() | float() if not isinstance(value, bool):
                moment = datetime.fromtimestamp(value, UTC)
            case _:
                raise EvaluationError(f"the time is {type(value).__name__}, not a timestamp")
    except (ValueError, OverflowError, OSError):
        raise EvaluationError(
            f"{_shorten(repr(value))} is not a time; RFC 3339 or Unix seconds are"
        ) from None
    if moment.tzinfo is None:
        raise EvaluationError(
            f"the time {_shorten(repr(value))} has no offset; write it as 2026-11-24T03:00:00Z"
        )
    return moment.astimezone(UTC)


def delay_until(delay: Delay, event: Event) -> datetime:
    """Return the earliest time at which the event may start a run.

    Raises
    ------
    EvaluationError: `until` gives no time for this event.
    """
    if delay.until is not None:
        return evaluate_time(delay.until, event)
    return event.accepted + (delay.duration or timedelta(0))


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A program, and which of the variables that cost time to convert it names: `data`, `event`."""

    program: cel.Program
    large: frozenset[str]


@lru_cache(maxsize=1024)
def _compile(source: str) -> _Compiled:
    program = cel.compile(source)
    return _Compiled(program, frozenset(program.variables()) & {"data", "event"})


def _small_variables(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "source_id": event.source_id,
        "subject": event.subject,
        "time": event.time,
        "accepted": event.accepted,
    }


def _syntax_fault(wrong: ValueError) -> str:
    _, _, fault = str(wrong).partition("ERROR: <input>:")
    return _shorten(fault.partition("\n")[0] or str(wrong))


def _fault(wrong: Exception) -> str:
    text = str(wrong)
    if found := _UNDEFINED.match(text):
        # All names were checked when the trigger was deployed, so it is the value that does not fit.
        return f"{found[1]}() takes no value of that type"
    # The library explains at length; its first sentence says what happened.
    return _shorten(text.partition(". ")[0].partition("\n")[0] or type(wrong).__name__)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_REASON_LENGTH else text[: _MAX_REASON_LENGTH - 1] + "…"
