"""Templates cannot be made to take long or to fill memory by what a sender writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.errors import RenderError
from hookline.event import Event, new_id
from hookline.parameter_rendering import render_now
from hookline.parameter_schema import check_parameters, hold_to_schema
from hookline.prefect_rows import DeploymentInfo
from hookline.triggers import Trigger
from hookline.triggers.rendering import render_parameters
from hookline.triggers.template_cost import is_cheap
from tests.support.holding import held

MOMENT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
TOO_LONG_SECONDS = 0.05


def an_event(data: Any) -> Event:
    return Event(id=new_id(), type="a", source="s", time=MOMENT, accepted=MOMENT, data=data)


def a_trigger(template: Any) -> Trigger:
    return Trigger(flow="f", deployment="d", name="n", expect=("a",), parameters={"p": template})


TWICE = "{% for a in event.payload.a %}{% for b in event.payload.a %}x{% endfor %}{% endfor %}"
HOSTILE = [
    (TWICE, {"a": [1] * 9_000}),
    ("x{{ 'a' * event.payload.n }}", {"n": 10**8}),
    ("{{ event.payload.s | center(event.payload.n) }}", {"s": "a", "n": 10**9}),
    ("{{ '%0*d' | format(event.payload.n, 1) }}", {"n": 10**8}),
    ("{{ event.payload.s.format(1) }}", {"s": "{:0>1000000000}"}),
    ("{{ event.payload.s | format(1) }}", {"s": "%01000000000d"}),
    ("{{ event.payload.s.replace('a', event.payload.s) }}", {"s": "a" * 100_000}),
    ("{{ event.payload.a | sum(start=[]) | length }} {{ 1 }}", {"a": [[1] * 9] * 60_000}),
]


@pytest.mark.parametrize(("template", "data"), HOSTILE)
def test_what_a_sender_makes_grow_is_rendered_where_it_can_be_ended(template: str, data: Any) -> None:
    """It is a dispatch that is dead with its reason, and no gateway that stands still or is out of memory."""
    trigger, event = a_trigger(template), an_event(data)
    assert not is_cheap(trigger, event)
    with pytest.raises(RenderError, match=r"^parameters of f/d/n: it (takes more than|makes \d+ bytes)"):
        render_now(trigger, event)


PLAIN = [
    "{{ event.payload.number }}",
    "{{ event.payload }}",
    "{{ event.payload.labels[0].name | upper }} of {{ event.id }}",
    "{{ event.payload.missing | default('none') }}",
    "{% if event.payload.number > 3 %}many{% else %}few{% endif %}",
    "{{ 'yes' if event.payload.number is defined and not event.payload.missing else 'no' }}",
    {"deep": ["{{ event.payload.labels }}", {"__prefect_kind": "jinja", "template": "{{ event.event }}"}]},
    "no template",
]
USUAL = {"number": 17, "labels": [{"name": "bug"}], "text": "x" * 2_000, "files": list(range(300))}


@pytest.mark.parametrize("template", PLAIN)
def test_usual_templates_are_rendered_as_ever(template: Any) -> None:
    """Nobody pays for what others might send."""
    assert is_cheap(a_trigger(template), an_event(USUAL))


@pytest.mark.parametrize(
    "template",
    [
        *PLAIN,
        "{% for label in event.payload.labels %}{{ label.name }},{% endfor %}",
        "{{ 2 * 3 }}x",
        "{{ event.payload.missing.deep | upper }}{{ 1 + 1 }}",
    ],
)
def test_the_evaluator_renders_what_is_rendered_here(template: Any) -> None:
    """The same parameters, wherever they are made; or the same fault in the same words."""
    trigger, large = a_trigger(template), an_event({**USUAL, "files": list(range(20_000))})
    assert outcome(render_now, trigger, large) == outcome(render_parameters, trigger, large)


def outcome(render: Callable[[Trigger, Event], Any], trigger: Trigger, event: Event) -> Any:
    try:
        return render(trigger, event)
    except RenderError as wrong:
        return f"fault: {wrong}"


PARTS = st.sampled_from(
    [
        "{{ event.payload.s }}",
        "{{ event.payload }}",
        "{{ event.payload.a | length }}",
        "{{ event.payload.s | upper }}",
        "{% if event.payload.a == event.payload.a %}x{% endif %}",
        "{{ event.payload.s ~ event.payload.s }}",
        "text",
        "{{ event.payload.a | string | trim }}",
        "{{ event.payload.s | urlencode }}",
        "{{ event.payload | tojson }}",
        "{{ event.payload.s | int }}",
        "{{ event.payload.n | round(2) }}",
        "{{ event.payload.a[0] | default(1) }}",
    ]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(PARTS, min_size=1, max_size=4), st.sampled_from([1, 100, 1_000, 5_000]))
def test_nothing_that_is_called_cheap_takes_long(parts: list[str], size: int) -> None:
    """Whatever a plain template is made of, and whatever is put into it."""
    data = {"s": "9" * size * 8, "a": [{} for _ in range(size)], "n": 1e300}
    trigger, event = a_trigger(" ".join(parts)), an_event(data)
    if not is_cheap(trigger, event):
        return
    with contextlib.suppress(RenderError):
        render_parameters(trigger, event)  # compiles it
    with held() as hold, contextlib.suppress(RenderError):
        render_parameters(trigger, event)
    assert hold.seconds < TOO_LONG_SECONDS


@pytest.mark.parametrize(
    ("property", "value"),
    [
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 40 + "!"),
        ({"type": "array", "uniqueItems": True}, [{"a": number} for number in range(9_000)]),
    ],
)
def test_a_flows_schema_cannot_be_made_to_take_long(property: dict[str, Any], value: Any) -> None:
    """Its author writes patterns as Python knows them, and a sender writes what is held against them."""
    deployment = DeploymentInfo(
        id="1", name="d", flow_name="f", work_pool=None, paused=False, parameters={}, tags=(),
        parameter_schema={"type": "object", "properties": {"p": property}}, enforces_schema=True,
    )  # fmt: skip
    with pytest.raises(RenderError, match="more than 1 s of processor time"):
        check_parameters({"p": value}, deployment)


def test_what_fits_the_flows_schema_is_let_through() -> None:
    """By the evaluator as here; and what does not is told in the same words."""
    schema = {"type": "object", "properties": {"p": {"type": "string", "pattern": "^[a-z]+$"}}}
    deployment = DeploymentInfo(
        id="1", name="d", flow_name="f", work_pool=None, paused=False, parameters={}, tags=(),
        parameter_schema=schema, enforces_schema=True,
    )  # fmt: skip
    check_parameters({"p": "abc"}, deployment)
    with pytest.raises(RenderError) as there:
        check_parameters({"p": "ABC"}, deployment)
    with pytest.raises(RenderError) as here:
        hold_to_schema({"p": "ABC"}, schema)
    assert str(there.value) == str(here.value)
