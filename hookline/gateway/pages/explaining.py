"""Why a trigger did or did not match: each part of its condition, with what the event has there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from hookline.errors import EvaluationError
from hookline.event import Event
from hookline.triggers import Match, Trigger, TriggerSet
from hookline.triggers.expressions import VARIABLES, Scope
from hookline.triggers.shape import prefect_resource, unmet_label

#: What is shown of one value.
VALUE_CHARACTERS = 120

ABSENT = "not in the event"

_TOKEN = re.compile(
    r"""
      (?P<text>   [rRbB]{0,2}(?:\"{3}.*?\"{3} | '{3}.*?'{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'))
    | (?P<path>   (?<![\w.]) (?:VARIABLES) (?!\w)
                  (?: \s*\.\s*[A-Za-z_]\w*(?!\w|\s*\()            # .field, but not .method(
                    | \[\s*(?:\d+ | "[^"\\]*" | '[^'\\]*')\s*\] )*  # [3] or ["field"]
                  (?!\s*\() )
    | (?P<other>  && | \|\| | [A-Za-z_]\w* | . )
    """.replace("VARIABLES", "|".join(VARIABLES)),
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What the event has where an expression looks.

    Parameters
    ----------
    path: where it looks, such as `data.ref`.
    value: what is there, as JSON, or why nothing is.
    """

    path: str
    value: str


@dataclass(frozen=True, slots=True)
class Clause:
    """One of the conditions that must all hold: a label of `match`, or what `where` joins with `&&`.

    Parameters
    ----------
    source: the condition.
    holds: whether it is true of the event; None where it cannot be told.
    findings: what the event has where it looks.
    fault: why it cannot be told.
    """

    source: str
    holds: bool | None
    findings: tuple[Finding, ...] = ()
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trigger says to an event.

    Parameters
    ----------
    trigger: the trigger.
    outcome: `matched`, `filtered`, `other type` or `disabled`.
    reason: in one sentence, for all but `matched`.
    clauses: the parts of its `match` and `where`, for those whose `expect` fits.
    """

    trigger: Trigger
    outcome: str
    reason: str | None = None
    clauses: tuple[Clause, ...] = ()


def explain(event: Event, triggers: TriggerSet) -> list[Verdict]:
    """Return what each trigger says to an event, those that expect its type first."""
    matches = {match.trigger.id: match for match in triggers.match(event)}
    scope = Scope(event)
    expecting = [_judged(match, event, scope) for match in matches.values()]
    others = [_apart(trigger, event) for trigger in triggers if trigger.id not in matches]
    expecting.sort(key=lambda verdict: verdict.outcome != "matched")
    return expecting + others


def _judged(match: Match, event: Event, scope: Scope) -> Verdict:
    trigger = match.trigger
    clauses = _labels(trigger, event)
    if trigger.where is not None:
        clauses += [_clause(part, scope) for part in conditions(trigger.where)]
    return Verdict(trigger, "matched" if match.matched else "filtered", match.reason, tuple(clauses))


def _apart(trigger: Trigger, event: Event) -> Verdict:
    expected = ", ".join(trigger.expect)
    if not trigger.enabled:
        return Verdict(trigger, "disabled", "the trigger is disabled: `enabled: false` in prefect.yaml")
    return Verdict(trigger, "other type", f"expects {expected}; the event's type is {event.type}")


def _labels(trigger: Trigger, event: Event) -> list[Clause]:
    """Return the labels that `match` wants as conditions."""
    resource = prefect_resource(event)
    return [
        Clause(
            f"match {label}: {patterns if isinstance(patterns, str) else ', '.join(patterns)}",
            unmet_label({label: patterns}, resource) is None,
            (Finding(label, shown(resource[label]) if label in resource else ABSENT),),
        )
        for label, patterns in (trigger.match or {}).items()
    ]


def _clause(source: str, scope: Scope) -> Clause:
    findings = tuple(Finding(path, _found(path, scope)) for path in dict.fromkeys(paths(source)))
    try:
        value = scope.evaluate(source)
    except EvaluationError as wrong:
        return Clause(source, None, findings, str(wrong))
    if isinstance(value, bool):
        return Clause(source, value, findings)
    return Clause(source, None, findings, f"gives {type(value).__name__}, not true or false")


def _found(path: str, scope: Scope) -> str:
    try:
        value = scope.evaluate(path)
    except EvaluationError:
        return ABSENT
    return shown(value)


def shown(value: Any) -> str:
    """Return a value as JSON in one line, cut where it gets long."""
    match value:
        case dict():
            text = f"an object of {len(value)} fields"
        case list() if len(value) > 20:
            text = f"a list of {len(value)}"
        case _:
            try:
                text = orjson.dumps(value, default=str).decode()
            except (TypeError, ValueError):
                text = str(value)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}…"


def conditions(source: str) -> list[str]:
    """Return the conditions that `&&` joins at the top of an expression; the whole where there are none.

    Each of them is an expression by itself, unless `||` or `?` stand beside them.
    """
    parts = [""]
    depth = 0
    for kind, word in _tokens(source):
        depth += (word in "([{") - (word in ")]}") if kind == "other" and len(word) == 1 else 0
        if depth == 0 and kind == "other" and word in ("||", "?"):
            return [source.strip()]
        if depth == 0 and word == "&&":
            parts.append("")
        else:
            parts[-1] += word
    return [part.strip() for part in parts if part.strip()]


def paths(source: str) -> list[str]:
    """Return the places of the event that an expression names, such as `data.ref`."""
    return [word for kind, word in _tokens(source) if kind == "path"]


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(source):
        yield found.lastgroup or "other", found[0]
