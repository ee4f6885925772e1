"""The parameters of a run, rendered here where that is cheap, and in the evaluator where it may take long."""

from __future__ import annotations

from typing import Any

from hookline.errors import EvaluationError, RenderError
from hookline.evaluator import evaluators
from hookline.event import Event
from hookline.triggers import Trigger
from hookline.triggers.rendering import render_parameters
from hookline.triggers.template_cost import is_cheap


async def render(trigger: Trigger, event: Event) -> dict[str, Any]:
    """Return the parameters of the run that a trigger starts for an event; as `render_parameters`.

    Raises
    ------
    RenderError: as there, or rendering takes too long or too much memory.
    """
    if is_cheap(trigger, event):
        return render_parameters(trigger, event)
    return await evaluators("templates").in_thread(lambda: _ask(trigger, event))


def render_now(trigger: Trigger, event: Event) -> dict[str, Any]:
    """Return what `render` does; blocks."""
    return render_parameters(trigger, event) if is_cheap(trigger, event) else _ask(trigger, event)


def _ask(trigger: Trigger, event: Event) -> dict[str, Any]:
    try:
        rendered: dict[str, Any] = evaluators("templates").ask("render", trigger.to_dict(), event.to_dict())
    except EvaluationError as wrong:
        known = f"parameters of {trigger.id}: "
        raise RenderError(known + str(wrong).removeprefix(known)) from None
    return rendered
