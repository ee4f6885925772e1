"""The parameters of a run, rendered from an event with Prefect's own sandbox and hydration.

Apart from `hookline.triggers`, because it imports Prefect, which matching must not wait for.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import jinja2
from jinja2.nodes import EvalContext
from prefect.server.events.jinja_filters import all_filters
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.utilities import user_templates
from prefect.server.utilities.user_templates import (
    UserTemplateEnvironment,
    maybe_template,
    register_user_template_filters,
)
from prefect.utilities.schema_tools.hydration import (
    HydrationContext,
    HydrationError,
    ValidJinja,
    WorkspaceVariable,
    hydrate,
)
from pydantic import ValidationError

from hookline.errors import RenderError
from hookline.event import Event, rfc3339
from hookline.sealed import KIND, REFERENCE, seal
from hookline.triggers.shape import prefect_resource
from hookline.triggers.templates import calculate_nothing, names_in
from hookline.triggers.trigger import Trigger

#: Templates that are kept compiled; those used last stay.
COMPILED = 512
_AS_JSON = "hookline_json"
#: Stands for what Prefect's hydration takes out of its object or list.
_REMOVED = object()
#: What a template would let a sender choose, by the key that it fills in.
_CHOSEN = {
    REFERENCE: "which block is loaded, secrets included",
    "variable_name": "which variable is read",
    "template": "what is rendered",
}


@jinja2.pass_eval_context
def _as_json(context: EvalContext, value: Any) -> Any:
    match value:
        # Prefect's `tojson` takes neither, and `{{ event.id }}` and `{{ event.occurred }}` should just work.
        case UUID():
            value = str(value)
        case datetime():
            value = rfc3339(value)
        case jinja2.Undefined():
            raise jinja2.UndefinedError(f"the event has no {value._undefined_name!r}")
        case _:
            pass
    return context.environment.filters["tojson"](context, value)


# As Prefect does before it renders the parameters of an automation.
register_user_template_filters({**all_filters, _AS_JSON: _as_json})
# It logs a traceback for each template that fails; the dead letter's reason says the same, and a sender
# must not be able to flood the log.
logging.getLogger("prefect.server.utilities.user_templates").setLevel(logging.ERROR)


def _keep_compiled(compile: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a template environment that remembers what it made of a text."""
    remembered = lru_cache(COMPILED)(compile)

    def once(source: Any, *args: Any, **options: Any) -> Any:
        if isinstance(source, str) and not args and not options:
            return remembered(source)
        return compile(source, *args, **options)

    return once


# A trigger's templates are the same for every event; compiling one takes milliseconds, rendering it does not.
# Prefect looks at a template with the one environment, and renders it with the other.
for _environment, _name in (
    (user_templates._template_environment, "parse"),
    (user_templates._sync_template_environment, "from_string"),
):
    setattr(_environment, _name, _keep_compiled(getattr(_environment, _name)))

# Only for looking at templates at deploy time: rendering goes through Prefect's own environment.
_templates = UserTemplateEnvironment(
    undefined=jinja2.ChainableUndefined, extensions=["jinja2_humanize_extension.HumanizeExtension"]
)
_templates.filters.update({**all_filters, _AS_JSON: _as_json})
calculate_nothing(_templates)


def render_parameters(trigger: Trigger, event: Event) -> dict[str, Any]:
    """Return the parameters of the run that `trigger` starts for `event`, JSON-ready.

    Without `parameters` the flow gets the event itself, if it takes one; give the event with its claim check
    where its data must not travel. What templates make of the event is sealed where Prefect would interpret
    it; what the trigger's author wrote is left to Prefect.

    Raises
    ------
    RenderError: a template cannot be rendered for this event; the dispatch is dead.
    """
    if trigger.parameters is None:
        return {"event": _sealed_event(event)} if trigger.passes_event else {}
    parameters = copy.deepcopy(trigger.parameters)
    _upgrade_templates(parameters)
    context = HydrationContext(
        raise_on_error=True, render_jinja=True, jinja_context={"event": _as_prefect_sees(event)}
    )
    try:
        _check_authority(parameters)
        filled = _filled(parameters, context)
        return {} if filled is _REMOVED else filled
    except HydrationError as wrong:
        raise RenderError(f"parameters of {trigger.id}: {wrong.message}") from None
    except (TypeError, ValueError) as wrong:
        # Prefect's handlers trust the form they are given: a template may itself be rendered to a number, and
        # a number may have too many digits.
        reason = f"parameters of {trigger.id}: not a form that Prefect can fill in: {wrong}"
        raise RenderError(reason) from None


def _sealed_event(event: Event) -> dict[str, Any]:
    document = event.to_dict()
    if "data" in document:
        document["data"] = seal(document["data"])
    return document


def _filled(value: Any, context: HydrationContext) -> Any:
    """Return what Prefect's hydration makes of a value, with what comes from the event sealed."""
    match value:
        case {"__prefect_kind": "none", "value": inner}:
            return _filled(inner, context)
        case dict() if KIND in value:
            filled = hydrate({"it": value}, context).get("it", _REMOVED)
            return seal(filled) if filled is not _REMOVED and _is_template(value) else filled
        case dict():
            parts = {key: _filled(part, context) for key, part in value.items()}
            return {key: part for key, part in parts.items() if part is not _REMOVED}
        case list():
            return [part for item in value if (part := _filled(item, context)) is not _REMOVED]
        case _:
            return value


def _check_authority(value: Any) -> None:
    """Check that no sender is let choose what Prefect would interpret.

    Raises
    ------
    RenderError: a block, a variable or the text of a template comes from a template.
    """
    match value:
        case dict():
            for key in (REFERENCE, "variable_name", "template"):
                if (key == REFERENCE or KIND in value) and _is_template(value.get(key)):
                    raise RenderError(
                        f"`{key}` is itself made by a template, so that a sender would choose "
                        f"{_CHOSEN[key]}; write it out"
                    )
            for part in value.values():
                _check_authority(part)
        case list():
            for part in value:
                _check_authority(part)
        case _:
            pass


def _is_template(value: Any) -> bool:
    """Return whether a template is in a value, in Prefect's explicit form."""
    match value:
        case dict():
            return value.get(KIND) == "jinja" or any(map(_is_template, value.values()))
        case list():
            return any(map(_is_template, value))
        case _:
            return False


def template_names(parameters: dict[str, Any]) -> set[str]:
    """Return the names that the templates in `parameters` take from outside, such as `event` or `flow_run`.

    Raises
    ------
    RenderError: a template is not valid: its syntax, a filter that does not exist, too many loops; or it
        makes what Prefect would interpret.
    """
    parameters = copy.deepcopy(parameters)
    _upgrade_templates(parameters)
    _check_authority(parameters)
    names: set[str] = set()
    for placeholder in _leaves(hydrate(parameters, HydrationContext())):
        match placeholder:
            case HydrationError():
                raise RenderError(placeholder.message)
            case WorkspaceVariable():
                names.add("variables")
            case ValidJinja():
                names |= _names(placeholder.template)
            case _:
                pass
    return names


def _names(template: str) -> set[str]:
    try:
        return names_in(template, _templates)
    except jinja2.TemplateError as wrong:
        raise RenderError(f"Invalid jinja: {wrong}") from None


def _leaves(value: Any) -> Iterator[Any]:
    match value:
        case dict():
            for part in value.values():
                yield from _leaves(part)
        case list():
            for part in value:
                yield from _leaves(part)
        case _:
            yield value


def _upgrade_templates(parameters: dict[str, Any]) -> None:
    # Plain template text becomes Prefect's explicit form, in place, as Prefect does for automations.
    for key, value in parameters.items():
        match value:
            case dict() if KIND not in value:
                _upgrade_templates(value)
            case list():
                for index, item in enumerate(value):
                    if isinstance(item, dict):
                        # Prefect misses this in a list, and would take what the sender wrote for a template.
                        if KIND not in item:
                            _upgrade_templates(item)
                    elif isinstance(item, str) and maybe_template(item):
                        value[index] = _explicit(item)
            case str() if maybe_template(value):
                parameters[key] = _explicit(value)
            case _:
                pass


def _explicit(template: str) -> dict[str, Any]:
    text = template.strip()
    if not (text.startswith("{{") and text.endswith("}}") and text.count("{{") == 1):
        return {KIND: "jinja", "template": template}
    # One expression and nothing else keeps its type: it goes through JSON.
    expression = f"{{{{ {text[2:-2].strip()} | {_AS_JSON} }}}}"
    return {KIND: "json", "value": {KIND: "jinja", "template": expression}}


def _as_prefect_sees(event: Event) -> ReceivedEvent:
    try:
        seen = ReceivedEvent.model_validate(
            {
                "occurred": event.accepted,
                "received": event.accepted,
                "event": event.type,
                "resource": prefect_resource(event),
                "id": event.id,
            }
        )
    except ValidationError as wrong:
        raise RenderError(f"Prefect takes no such event: {wrong.errors()[0]['msg']}") from None
    if event.data is None:
        return seen
    # Past validation: Prefect's payload is an object, an event's data may be any JSON.
    return seen.model_copy(update={"payload": event.data})
