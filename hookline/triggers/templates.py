"""The templates of a trigger's parameters, looked at without Prefect, which renders them. Pure.

This finds what the grammar forbids and what a template takes from outside; `hookline deploy`, which has
Prefect at hand, asks `hookline.triggers.rendering` for the same once more, with all of Prefect's own rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import jinja2
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hookline.errors import RenderError

#: What Prefect adds to Jinja's own filters and those of the humanize extension.
PREFECT_FILTERS = ("ui_url", "ui_resource_events_url", "flow_run_id")


def template_names(parameters: dict[str, Any]) -> set[str]:
    """Return the names that the templates in `parameters` take from outside, such as `event` or `flow_run`.

    Raises
    ------
    RenderError: a template is not valid: its syntax, or a filter that does not exist.
    """
    names: set[str] = set()
    for text in _texts(parameters):
        try:
            names |= names_in(text, _environment())
        except jinja2.TemplateError as wrong:
            raise RenderError(f"Invalid jinja: {wrong}") from None
    return names


def names_in(text: str, environment: jinja2.Environment) -> set[str]:
    """Return the names that one template takes from outside.

    Raises
    ------
    jinja2.TemplateError: it is not valid.
    """
    return find_undeclared_variables(environment.parse(text)) - environment.globals.keys()


def calculate_nothing(environment: ImmutableSandboxedEnvironment) -> None:
    """Make an environment one for looking at templates only.

    Jinja works out what is constant while it compiles: with `{{ "a" | center(2000000000) }}` a look would
    take minutes and gigabytes.
    """
    environment.filters = dict.fromkeys(environment.filters, _later)
    environment.intercepted_binops = frozenset(environment.default_binop_table)


@jinja2.pass_context
def _later(_context: Context, value: Any, *_arguments: Any) -> Any:
    """Stand for a filter; Jinja leaves those that want a context for later."""
    return value


def _texts(value: Any) -> Iterator[str]:
    match value:
        case {"__prefect_kind": "workspace_variable"}:
            yield "{{ variables }}"
        case dict():
            for part in value.values():
                yield from _texts(part)
        case list():
            for part in value:
                yield from _texts(part)
        case str() if "{{" in value or "{%" in value:
            yield value
        case _:
            pass


@cache
def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.ChainableUndefined,
        extensions=["jinja2_humanize_extension.HumanizeExtension"],
    )
    environment.filters.update(dict.fromkeys(PREFECT_FILTERS, str))
    calculate_nothing(environment)
    return environment
