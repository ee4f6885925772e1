"""Why an event started something or nothing: for each trigger, and in one sentence.

The page, the API and the command line all say what is made here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hookline.errors import EvaluationError
from hookline.evaluator import with_answers_now
from hookline.event import Event
from hookline.inbox import Dispatch, DispatchStatus
from hookline.nearest import did_you_mean
from hookline.triggers import Costly, Match, Scope, Trigger, TriggerSet
from hookline.triggers.expressions import FALSE, VARIABLES, Form, variables
from hookline.triggers.shape import prefect_resource, unmet_label

#: What is shown of one value.
VALUE_CHARACTERS = 120

ABSENT = "not in the event"
#: So many triggers are named in one sentence.
NAMED = 3

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

_STEP = re.compile(r"(?P<name>[A-Za-z_]\w*) | (?P<index>\d+) | [\"'](?P<text>[^\"']*)[\"']", re.VERBOSE)


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
    """Return what each trigger says to an event, those that expect its type first.

    It may take seconds, where a condition is costly.
    """
    expecting = with_answers_now(
        event, lambda scope: [_judged(match, event, scope) for match in triggers.match(event, scope)]
    )
    matches = {verdict.trigger.id for verdict in expecting}
    others = [_apart(trigger, event) for trigger in triggers if trigger.id not in matches]
    expecting.sort(key=lambda verdict: verdict.outcome != "matched")
    return expecting + others


def why_ignored(event: Event, triggers: TriggerSet, dispatches: Sequence[Dispatch]) -> str:
    """Return in one sentence why an event started nothing.

    Parameters
    ----------
    event: with its data, where that was not pruned.
    triggers: the set in force.
    dispatches: those of the event, all of them filtered, if there are any.
    """
    newest = max((dispatch.replay for dispatch in dispatches), default=0)
    filtered = [
        dispatch
        for dispatch in dispatches
        if dispatch.replay == newest and dispatch.status is DispatchStatus.FILTERED
    ]
    if not filtered:
        return _why_unexpected(event.type, triggers)
    # Only what the event was matched against can say more than what was written down then.
    verdicts = {verdict.trigger.id: verdict for verdict in explain(event, triggers)}
    reasons = [
        f"{dispatch.trigger_id}: {_why_filtered(dispatch, triggers, verdicts.get(dispatch.trigger_id))}"
        for dispatch in filtered[:NAMED]
    ]
    if len(filtered) > NAMED:
        reasons.append(f"and {len(filtered) - NAMED} more")
    return "; ".join(reasons)


def _why_filtered(dispatch: Dispatch, triggers: TriggerSet, verdict: Verdict | None) -> str:
    reason = dispatch.reason or "filtered"
    if verdict is None or dispatch.trigger_set != triggers.version:
        return reason
    unmet = next((clause for clause in verdict.clauses if clause.holds is False), None)
    if unmet is None:
        return reason
    found = ", ".join(f"{finding.path} is {finding.value}" for finding in unmet.findings)
    return f"{reason}: {unmet.source} does not hold" + (f", {found}" if found else "")


def _why_unexpected(event_type: str, triggers: TriggerSet) -> str:
    if triggers.expects(event_type):
        return f"no trigger expected {event_type} when it came in; one does now, and a replay would start it"
    if not triggers:
        return "no triggers are deployed; run `hookline deploy`, then replay the event"
    off = [trigger.id for trigger in triggers if not trigger.enabled and _fits(event_type, trigger.expect)]
    if off:
        return f"no enabled trigger expects {event_type}: {off[0]} is disabled"
    patterns = dict.fromkeys(pattern for trigger in triggers for pattern in trigger.expect)
    return f"no trigger expects {event_type}{did_you_mean(event_type, _meant(event_type, patterns))}"


def _fits(event_type: str, patterns: Iterable[str]) -> bool:
    return any(
        event_type.startswith(pattern[:-1]) if pattern.endswith("*") else event_type == pattern
        for pattern in patterns
    )


def _meant(event_type: str, patterns: Iterable[str]) -> Iterator[str]:
    """Yield the types that triggers expect; of `order.*` the one with the rest of this type."""
    words = event_type.split(".")
    for pattern in patterns:
        prefix = pattern.removesuffix("*")
        if pattern == prefix:
            yield pattern
        elif prefix.endswith(".") and len(words) > prefix.count("."):
            yield prefix + ".".join(words[prefix.count(".") :])


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
    findings = tuple(Finding(path, _found(path, scope.event)) for path in dict.fromkeys(paths(source)))
    try:
        reason = scope.ask(Form.TRUTH, source)
    except EvaluationError as wrong:
        return Clause(source, None, findings, str(wrong))
    except Costly:
        return Clause(source, None, findings, "it takes long for this event, and is not evaluated by itself")
    if reason in (None, FALSE):
        return Clause(source, reason is None, findings)
    return Clause(source, None, findings, reason.removeprefix("where "))


def _found(path: str, event: Event) -> str:
    value: Any = variables(event)
    for step in _STEP.finditer(path):
        name, index = step["name"] or step["text"], step["index"]
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and index and int(index[:9]) < len(value):
            value = value[int(index)]
        else:
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
