"""Whether the parameters of a run may be rendered where others have to wait for it.

A template that puts values of the event in their places takes time with the event's size. What repeats, fills
up, searches or calculates can take any time and any memory for a small event: the evaluator renders it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes

from hookline.event import Event
from hookline.triggers.cost import size_of
from hookline.triggers.trigger import Trigger

#: Values of the event that are put in, over all templates: some milliseconds, as measured.
VALUES_HERE = 5_000

_PLAIN = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const,
    nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Test,
    nodes.Concat, nodes.Filter,
)  # fmt: skip
#: What these give is no larger than what they are given and their fixed arguments, and takes as long.
_PLAIN_FILTERS = frozenset({
    "abs", "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int", "last", "length",
    "lower", "round", "string", "tojson", "trim", "ui_resource_events_url", "ui_url", "upper", "urlencode",
})  # fmt: skip
_environment = jinja2.Environment(autoescape=True)


def is_cheap(trigger: Trigger, event: Event) -> bool:
    """Return whether rendering a trigger's parameters for an event takes milliseconds at most."""
    templates = list(_templates(trigger.parameters))
    if not templates:
        return True  # the event is passed as it is
    values = VALUES_HERE // len(templates)
    return (
        all(map(_is_plain, templates))
        and size_of([event.data, event.subject, event.source_id], values) <= values
    )


def is_plain(trigger: Trigger) -> bool:
    """Return whether rendering a trigger's parameters is cheap for events of usual size."""
    return all(map(_is_plain, _templates(trigger.parameters)))


def _templates(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for part in value.values():
                yield from _templates(part)
        case list():
            for part in value:
                yield from _templates(part)
        case str() if "{{" in value or "{%" in value:
            yield value
        case _:
            pass


@lru_cache(maxsize=512)
def _is_plain(template: str) -> bool:
    try:
        parsed = _environment.parse(template)
    except jinja2.TemplateError:
        return False
    used = list(parsed.find_all(nodes.Node))
    return all(isinstance(node, _PLAIN) for node in used) and all(
        node.name in _PLAIN_FILTERS and _is_fixed(node) for node in used if isinstance(node, nodes.Filter)
    )


def _is_fixed(filter: nodes.Filter) -> bool:
    """Return whether a filter's arguments are written in the template, and are no large numbers."""
    if filter.dyn_args is not None or filter.dyn_kwargs is not None:
        return False
    given = [*filter.args, *(keyword.value for keyword in filter.kwargs)]
    return all(
        isinstance(each, nodes.Const) and (not isinstance(each.value, int) or abs(each.value) < 100)
        for each in given
    )
