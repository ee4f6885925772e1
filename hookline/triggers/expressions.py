"""CEL over an event: conditions (`where`), keys and times. Compiled once; evaluation has no side effects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

import cel
import orjson

from hookline.errors import EvaluationError, TriggerError
from hookline.event import Event, rfc3339
from hookline.triggers.cost import ATTRIBUTE_CHARACTERS, FUNCTIONS, at, conversion, cost, size_of
from hookline.triggers.trigger import Delay

#: What an expression may name. `event` is the whole event as an object.
VARIABLES = (
    "id", "type", "source", "source_id", "subject", "time", "accepted", "data", "event",
)  # fmt: skip

#: Those that are as large as what the sender wrote.
LARGE = frozenset({"data", "event"})
#: Why an event is filtered out whose condition does not hold.
FALSE = "where is false"

#: Parsing is linear in the source, so its length bounds the cost of an expression.
MAX_SOURCE_LENGTH = 4096
#: Keys go into an index; a longer one is replaced by its digest.
MAX_KEY_LENGTH = 200
#: All that is evaluated here for one event takes at most so long. The rest is asked of a process that can be
#: ended (`hookline.evaluator`).
HERE_NANOSECONDS = 10_000_000
#: Above this size converting an event takes longer than that.
_LARGEST_HERE = 10_000

_MAX_REASON_LENGTH = 200
_TYPE_NAMES = frozenset(
    {"int", "uint", "double", "string", "bytes", "bool", "list", "map", "null_type", "type"}
)
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
        if name.isidentifier() and name not in FUNCTIONS and name[0] != "_"
    ]
    if foreign:
        raise TriggerError(
            f"{source!r} calls {foreign[0]!r}, which is no CEL function here; see docs/triggers.md"
        )
    return source


class Form(StrEnum):
    """What is wanted of an expression's value: each has a form that can be handed over between processes."""

    TRUTH = "truth"  # None where it is true, else why it is not
    KEY = "key"  # text
    TIME = "time"  # an RFC 3339 time in UTC


@dataclass(frozen=True, slots=True)
class Question:
    """An expression that is to be evaluated for an event, and what is wanted of its value."""

    form: Form
    source: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question: a value in the form that was wanted, or why it cannot be had."""

    value: str | None = None
    fault: str | None = None


#: Answers that were had before, here or elsewhere.
Answers = dict[Question, Answer]


class Costly(Exception):
    """An evaluation that may take too long to be made here: ask `hookline.evaluator`, then come again."""

    def __init__(self, question: Question) -> None:
        super().__init__(question.source)
        self.question = question


class Scope:
    """One event as CEL sees it. What expressions name of it is converted once, on the first evaluation.

    Parameters
    ----------
    event: the event.
    answers: to questions that were asked elsewhere, because they may take long. Those that are answered here
        are added: whoever comes again with the same scope does none of the work twice.
    bounded: raise `Costly` for what may take too long; without it, everything is evaluated here.
    """

    __slots__ = ("_answers", "_contexts", "_left", "_size", "event")

    def __init__(self, event: Event, answers: Answers | None = None, *, bounded: bool = True) -> None:
        self.event = event
        self._answers = answers
        self._contexts: dict[frozenset[str], cel.Context] = {}
        self._left: float | None = HERE_NANOSECONDS if bounded else None
        self._size: int | None = None

    def ask(self, form: Form, source: str) -> str | None:
        """Return what the expression gives for this event, in the form that is wanted.

        Raises
        ------
        EvaluationError: a field is missing, types do not fit, or the like; says what.
        Costly: it may take too long, and its answer is not there.
        """
        if self._answers is None:
            return self._answer_here(form, source)
        question = Question(form, source)
        known = self._answers.get(question)
        if known is None:
            try:
                known = Answer(self._answer_here(form, source))
            except EvaluationError as wrong:
                known = Answer(fault=str(wrong))
            self._answers[question] = known
        if known.fault is not None:
            raise EvaluationError(known.fault)
        return known.value

    def _answer_here(self, form: Form, source: str) -> str | None:
        if not self._is_cheap(source):
            raise Costly(Question(form, source))
        return _FORMS[form](self.evaluate(source))

    def evaluate(self, source: str) -> Any:
        """Return what the expression gives for this event, however long it takes.

        Raises
        ------
        EvaluationError: a field is missing, types do not fit, or the like; says what.
        """
        try:
            compiled = _compile(source)
            return compiled.program.execute(self._context(compiled.large))
        except KeyError as missing:
            raise EvaluationError(f"the event has no {_shorten(str(missing.args[0]))!r}") from None
        except Exception as wrong:
            # The library raises whatever Python error fits; none of them may stop other triggers.
            raise EvaluationError(_fault(wrong)) from None

    def _is_cheap(self, source: str) -> bool:
        """Return whether an expression can be evaluated in what is left of this event's time, and take it."""
        if self._left is None:
            return True
        bound = cost(source)
        if bound is None:
            return False
        if self._size is None:
            self._size = size_of(self.event.data, _LARGEST_HERE)
            if len(self.event.subject or "") + len(self.event.source_id or "") > ATTRIBUTE_CHARACTERS:
                self._left = 0.0  # a webhook's subject may be as long as its body
        takes = at(bound, self._size)
        large = _compile(source).large
        if large not in self._contexts:
            takes += len(large) * conversion(self._size)
        if takes > self._left:
            return False
        self._left -= takes
        return True

    def _context(self, large: frozenset[str]) -> cel.Context:
        context = self._contexts.get(large)
        if context is None:
            of_event = variables(self.event)
            named = {name: of_event[name] for name in of_event if name not in LARGE or name in large}
            context = self._contexts[large] = cel.Context(named)
        return context


def evaluate_key(source: str | None, scope: Scope) -> str:
    """Return the key that an expression gives for an event: text as it is, anything else as JSON.

    Parameters
    ----------
    source: the CEL source, or None for the one key "" that all events share.

    Raises
    ------
    EvaluationError: the expression cannot be evaluated for this event.
    Costly: see `Scope.ask`.
    """
    return "" if source is None else scope.ask(Form.KEY, source) or ""


def evaluate_time(source: str, scope: Scope) -> datetime:
    """Return the time that an expression gives for an event: a timestamp, RFC 3339 text or Unix seconds.

    Raises
    ------
    EvaluationError: the expression cannot be evaluated, or gives no time with an offset.
    Costly: see `Scope.ask`.
    """
    return datetime.fromisoformat(scope.ask(Form.TIME, source) or "")


def delay_until(delay: Delay, scope: Scope) -> datetime:
    """Return the earliest time at which the event may start a run.

    Raises
    ------
    EvaluationError: `until` gives no time for this event.
    Costly: see `Scope.ask`.
    """
    if delay.until is not None:
        return evaluate_time(delay.until, scope)
    return scope.event.accepted + (delay.duration or timedelta(0))


def _as_truth(value: Any) -> str | None:
    if value is True:
        return None
    return FALSE if value is False else f"where gives {type(value).__name__}, not true or false"


def _as_key(value: Any) -> str:
    if isinstance(value, datetime):
        value = rfc3339(value)
    try:
        key = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        raise EvaluationError(f"the key is {type(value).__name__}, which has no JSON form") from None
    if len(key) <= MAX_KEY_LENGTH:
        return key
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def _as_time(value: Any) -> str:
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
        if moment.tzinfo is None:
            raise EvaluationError(
                f"the time {_shorten(repr(value))} has no offset; write it as 2026-11-24T03:00:00Z"
            )
        return moment.astimezone(UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        raise EvaluationError(
            f"{_shorten(repr(value))} is not a time; RFC 3339 or Unix seconds are"
        ) from None


_FORMS: dict[Form, Callable[[Any], str | None]] = {
    Form.TRUTH: _as_truth,
    Form.KEY: _as_key,
    Form.TIME: _as_time,
}


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A program, and which of the variables that cost time to convert it names: `data`, `event`."""

    program: cel.Program
    large: frozenset[str]


@lru_cache(maxsize=1024)
def _compile(source: str) -> _Compiled:
    program = cel.compile(source)
    return _Compiled(program, LARGE.intersection(program.variables()))


def variables(event: Event) -> dict[str, Any]:
    """Return all that an expression may name, with what it stands for."""
    small = _small_variables(event)
    return {**small, "data": event.data, "event": {**small, "data": event.data}}


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
