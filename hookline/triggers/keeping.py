"""Which triggers of `prefect.yaml` Hookline keeps, and which stay with Prefect's automations. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from prefect.events.schemas.automations import Posture
from prefect.events.schemas.deployment_triggers import (
    DeploymentEventTrigger,
    deployment_trigger_discriminator,
)
from prefect.events.schemas.events import ResourceSpecification
from pydantic import ValidationError

from hookline.errors import RenderError, TriggerError
from hookline.triggers.grammar import (
    OUR_KEYS,
    read_concurrency,
    read_debounce,
    read_delay,
    read_where,
)
from hookline.triggers.rendering import template_names
from hookline.triggers.trigger import Labels, Trigger

#: Types under these prefixes are Prefect's own, or mirrors of ours: never events of the inbox.
RESERVED_PREFIXES = ("prefect.", "hookline.")

_KNOWN_KEYS = (*DeploymentEventTrigger.model_fields, *OUR_KEYS)
#: How alike an unknown key must be to one of ours to be taken for a slip of the pen.
_SLIP = 0.8


def keep(raw: Mapping[str, Any], deployment: str) -> Trigger | str:
    """Return the trigger to keep, its flow still empty, or the reason why it stays with Prefect.

    Parameters
    ----------
    raw: the trigger as `prefect.yaml` has it, environment variables filled in.
    deployment: the deployment's name.

    Raises
    ------
    TriggerError: it has Hookline's keys and cannot be kept, or it could be kept and is written wrongly.
    """
    reason = _why_left(raw)
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


def _why_left(raw: Mapping[str, Any]) -> str | None:
    """Return what keeps Hookline from keeping a trigger, or None."""
    kind = deployment_trigger_discriminator(dict(raw))
    if kind != "event":
        return f"it is a trigger of type {kind}"
    for key, value in raw.items():
        if key not in ("parameters", *OUR_KEYS) and _has_template(value):
            return f"`{key}` is a template that Prefect fills in when it deploys"
    stock = _stock(raw)
    if stock.posture is not Posture.Reactive:
        return "it is proactive"
    if stock.threshold != 1:
        return f"its threshold is {stock.threshold}"
    if stock.within != timedelta(0):
        return "it counts events within a time"
    if stock.after:
        return "it waits for events `after` others"
    return _why_not_expected(stock.expect) or _why_not_rendered(stock.parameters)


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


def _why_not_rendered(parameters: dict[str, Any] | None) -> str | None:
    try:
        names = template_names(parameters or {})
    except RenderError as wrong:
        raise TriggerError(f"parameters: {wrong}") from None
    if foreign := sorted(names - {"event"}):
        return f"its parameters use {foreign[0]!r}, and Hookline fills in templates from `event` alone"
    return None


def _read(raw: Mapping[str, Any], deployment: str) -> Trigger:
    stock = _stock(raw)
    if not stock.name:
        raise TriggerError("Hookline keeps it, and needs a `name` for it")
    if unknown := [key for key in raw if key not in _KNOWN_KEYS]:
        for key in unknown:
            if meant := difflib.get_close_matches(str(key), OUR_KEYS, n=1, cutoff=_SLIP):
                raise TriggerError(f"`{key}` is no key of a trigger; write `{meant[0]}`")
    return Trigger(
        flow="",
        deployment=deployment,
        name=stock.name,
        # In the order of the file, which a set has lost.
        expect=tuple(dict.fromkeys(raw["expect"])),
        where=read_where(raw["where"]) if "where" in raw else None,
        enabled=stock.enabled,
        match=_labels(stock.match) or None,
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
    try:
        return DeploymentEventTrigger.model_validate(dict(raw))
    except ValidationError as wrong:
        fault = wrong.errors()[0]
        raise TriggerError(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}") from None


def _has_template(value: Any) -> bool:
    match value:
        case str():
            return "{{" in value
        case Mapping():
            return any(_has_template(part) for part in value.values())
        case list():
            return any(_has_template(part) for part in value)
        case _:
            return False


def _labels(specification: ResourceSpecification | Mapping[str, Any]) -> Labels:
    root = specification.root if isinstance(specification, ResourceSpecification) else specification
    return dict(root)


def _all_labels(written: Any) -> tuple[Labels, ...]:
    several = written if isinstance(written, list) else [written]
    return tuple(labels for one in several if (labels := _labels(one)))
