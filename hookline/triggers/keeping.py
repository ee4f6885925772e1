"""Which triggers of `prefect.yaml` Hookline keeps, and which stay with Prefect's automations. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from hookline.errors import RenderError, TriggerError
from hookline.nearest import nearest
from hookline.triggers import own_runs
from hookline.triggers.grammar import (
    OUR_KEYS,
    read_concurrency,
    read_debounce,
    read_delay,
    read_where,
)
from hookline.triggers.stock import DeploymentEventTrigger, kind_of
from hookline.triggers.templates import template_names
from hookline.triggers.trigger import Labels, Trigger
from hookline.triggers.validating import has_template, validate

#: Types under these prefixes are Prefect's own, or mirrors of ours: never events of the inbox.
RESERVED_PREFIXES = ("prefect.", "hookline.")

#: What a template of an automation's parameters can use, in Prefect's `RunDeployment` and its deploying.
PREFECT_NAMES = frozenset({
    "automation", "concurrency_limit", "deployment", "event", "events", "firing", "firings", "flow",
    "flow_run", "labels", "prefect", "task_run", "variables", "work_pool", "work_queue",
})  # fmt: skip

#: All keys that stock Prefect does not know.
FURTHER_KEYS = (*OUR_KEYS, own_runs.KEY)

#: What an event's type cannot hold, and what nobody sees in a name: blanks, line ends, control characters.
_UNSEEN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]")

#: Returns the names that templates take from outside, or raises RenderError.
TemplateNames = Callable[[dict[str, Any]], set[str]]


def keep(
    raw: Mapping[str, Any], deployment: str, template_names: TemplateNames = template_names
) -> Trigger | str:
    """Return the trigger to keep, its flow still empty, or the reason why it stays with Prefect.

    Parameters
    ----------
    raw: the trigger as `prefect.yaml` has it, environment variables filled in.
    deployment: the deployment's name.
    template_names: looks at templates.

    Raises
    ------
    TriggerError: it has Hookline's keys and cannot be kept, or it could be kept and is written wrongly.
    """
    reason = _why_left(raw, template_names)
    if reason is not None:
        if ours := _our_keys(raw):
            raise TriggerError(
                f"it has `{ours[0]}`, so only Hookline could keep it, but {reason}. Take `{ours[0]}` out,"
                " or change what stands in the way (docs/triggers.md, What Hookline keeps)."
            )
        return reason
    return _read(raw, deployment)


def _our_keys(raw: Mapping[str, Any]) -> list[str]:
    """Return our keys in a trigger, those of the triggers it is composed of included."""
    parts = raw.get("triggers")
    inner = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return [key for key in OUR_KEYS if key in raw] + [key for part in inner for key in _our_keys(part)]


def name_fault(pattern: str) -> str | None:
    """Return what is wrong with a name in `expect` or `after`, or None."""
    if not pattern:
        return "an empty name matches no event"
    # A template is filled in later, and may have blanks within its braces.
    plain = re.sub(r"{{.*?}}", "", pattern)
    if unseen := _UNSEEN.search(plain):
        return f"{pattern!r} holds {unseen[0]!r}; names of events have no blanks and no control characters"
    return None


def _why_left(raw: Mapping[str, Any], template_names: TemplateNames) -> str | None:
    """Return what keeps Hookline from keeping a trigger, or None."""
    kind = kind_of(raw)
    if kind != "event":
        return f"it is a trigger of type {kind}"
    for key, value in raw.items():
        if key not in ("parameters", *OUR_KEYS) and has_template(value):
            return f"`{key}` is a template that Prefect fills in when it deploys"
    stock = _stock(raw)
    if stock.posture != "Reactive":
        return "it is proactive"
    if stock.threshold != 1:
        return f"its threshold is {stock.threshold}"
    if stock.within != timedelta(0):
        return "it counts events within a time"
    if stock.after:
        return "it waits for events `after` others"
    return _why_not_expected(stock.expect) or _why_not_rendered(stock.parameters, template_names)


def _why_not_expected(expect: set[str]) -> str | None:
    if not expect:
        return "it expects no event by name"
    for pattern in sorted(expect):
        literal = pattern.removesuffix("*")
        if any(sign in literal for sign in "*?[") or literal.startswith("!"):
            return f"{pattern!r} is neither a literal name nor one with a trailing `*`"
        for reserved in RESERVED_PREFIXES:
            if literal.startswith(reserved) or (pattern.endswith("*") and reserved.startswith(literal)):
                return f"{pattern!r} takes in {reserved}*, which are not events of Hookline"
    return None


def _why_not_rendered(parameters: dict[str, Any] | None, template_names: TemplateNames) -> str | None:
    try:
        names = template_names(parameters or {})
    except RenderError as wrong:
        raise TriggerError(f"parameters: {wrong}") from None
    for name in sorted(names - PREFECT_NAMES):
        # Others may be what the steps of the deployment give, which Prefect fills in when it deploys.
        if meant := nearest(name, PREFECT_NAMES):
            raise TriggerError(f"parameters: there is no {name!r} in a template; did you mean {meant!r}?")
    if foreign := sorted(names - {"event"}):
        return f"its parameters use {foreign[0]!r}, and Hookline fills in templates from `event` alone"
    return None


def _read(raw: Mapping[str, Any], deployment: str) -> Trigger:
    stock = _stock(raw)
    if not stock.name:
        raise TriggerError("Hookline keeps it, and needs a `name` for it")
    if own_runs.KEY in raw:
        raise TriggerError(f"Hookline keeps it, and no run's own events reach it: take `{own_runs.KEY}` out")
    return Trigger(
        flow="",
        deployment=deployment,
        name=stock.name,
        # In the order of the file, which a set has lost.
        expect=tuple(dict.fromkeys(raw["expect"])),
        where=read_where(raw["where"]) if "where" in raw else None,
        enabled=stock.enabled,
        match=stock.match or None,
        match_related=_all_labels(stock.match_related),
        for_each=tuple(sorted(stock.for_each)),
        parameters=stock.parameters,
        job_variables=stock.job_variables,
        schedule_after=stock.schedule_after,
        concurrency=read_concurrency(raw["concurrency"]) if "concurrency" in raw else None,
        debounce=read_debounce(raw["debounce"]) if "debounce" in raw else None,
        delay=read_delay(raw["delay"]) if "delay" in raw else None,
    )


def _stock(raw: Mapping[str, Any]) -> DeploymentEventTrigger:
    fault = next(validate(raw, DeploymentEventTrigger, "a trigger", ours=FURTHER_KEYS, templates=False), None)
    if fault is not None:
        raise TriggerError(fault.reason)
    known = {key: value for key, value in raw.items() if key in DeploymentEventTrigger.model_fields}
    return DeploymentEventTrigger.model_validate(known)


def _all_labels(written: Labels | list[Labels]) -> tuple[Labels, ...]:
    several = written if isinstance(written, list) else [written]
    return tuple(labels for labels in several if labels)
