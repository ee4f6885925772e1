"""Parameters render as Prefect renders them for an automation: the same values, the same failures."""

from __future__ import annotations

import logging
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.server.events.actions import ActionFailed, RunDeployment
from prefect.server.events.schemas.automations import (
    Automation,
    EventTrigger,
    Firing,
    Posture,
    TriggeredAction,
    TriggerState,
)
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.utilities.user_templates import UserTemplateEnvironment
from prefect.utilities.schema_tools.hydration import HydrationError

from hookline.errors import RenderError
from hookline.event import Claim, Event
from hookline.sealed import is_sealed, opened, seal
from hookline.triggers import Trigger, prefect_resource
from hookline.triggers.rendering import render_parameters, template_names

MOMENT = datetime(2026, 11, 24, 3, 0, 0, 250_000, tzinfo=UTC)
EVENT = Event(
    id="0197a2c4-5b6d-7e8f-9a0b-1c2d3e4f5a6b",
    type="github.push",
    source="github",
    source_id="72d3162e",
    subject="acme/shop",
    time=MOMENT,
    accepted=MOMENT,
    data={
        "ref": "refs/heads/main",
        "n": 5,
        "ratio": 0.5,
        "yes": True,
        "none": None,
        "text": "5",
        "quote": 'it\'s <b>"bold"</b> & {{ event.id }}',
        "list": [1, "two", {"three": [3.0, None]}],
        "commits": [{"id": "a1", "message": "first"}, {"id": "b2", "message": "zweite ✓"}],
        "deep": {"er": {"still": "x"}},
        "when": "2026-11-24T03:00:00Z",
    },
)


def a_trigger(parameters: dict[str, Any] | None, **parts: Any) -> Trigger:
    return Trigger(
        flow="f", deployment="d", name="t", expect=("github.push",), parameters=parameters, **parts
    )


async def stock_render(parameters: dict[str, Any]) -> dict[str, Any]:
    """Render with Prefect's own action, as if an automation had fired on the event.

    Raises
    ------
    ActionFailed, HydrationError: as Prefect's action does, which then starts no run.
    """
    action = RunDeployment(source="selected", deployment_id=UUID(int=1), parameters=parameters)
    trigger = EventTrigger(expect={EVENT.type}, posture=Posture.Reactive)
    automation = Automation(name="a", trigger=trigger, actions=[action])
    trigger._set_parent(automation)
    seen = ReceivedEvent(
        occurred=EVENT.accepted,
        received=EVENT.accepted,
        event=EVENT.type,
        resource=prefect_resource(EVENT),
        payload=EVENT.data,
        id=EVENT.id,
    )
    firing = Firing(
        trigger=trigger, trigger_states={TriggerState.Triggered}, triggered=MOMENT, triggering_event=seen
    )
    triggered = TriggeredAction(
        automation=automation, firing=firing, triggered=MOMENT, triggering_labels={},
        triggering_event=seen, action=action, action_index=0,
    )  # fmt: skip
    return await action.render_parameters(triggered)


def jinja(template: str) -> dict[str, Any]:
    return {"__prefect_kind": "jinja", "template": template}


def as_json(template: str) -> dict[str, Any]:
    return {"__prefect_kind": "json", "value": jinja(template)}


TEMPLATES = [
    "plain text",
    "",
    "{{ event.payload.n }}",
    "{{ event.payload.ratio }}",
    "{{ event.payload.yes }}",
    "{{ event.payload.none }}",
    "{{ event.payload.text }}",
    "{{ event.payload.list }}",
    "{{ event.payload.deep }}",
    "{{ event.payload['deep']['er'].still }}",
    "  {{event.payload.n}}  ",
    "{{ event.payload.quote }}",
    "quote: {{ event.payload.quote }}",
    "{{ event.payload.n }}{{ event.payload.text }}",
    "n={{ event.payload.n }} of {{ event.payload.list | length }}",
    "{{ event.payload.commits | map(attribute='id') | list }}",
    "{{ event.payload.commits | map(attribute='message') | join(', ') }}",
    "{% for commit in event.payload.commits %}{{ commit.id }};{% endfor %}",
    "{% if event.payload.yes %}yes{% else %}no{% endif %}",
    "{{ event.payload.ref.removeprefix('refs/heads/') }}",
    "{{ event.payload.ref | upper }}",
    "{{ event.payload.missing }}",
    "missing: {{ event.payload.missing.further.still }}",
    "{{ event.payload.missing | default('x') }}",
    "{{ event.payload.n + 1 }}",
    "{{ event.payload.n + 'x' }}",
    "{{ event.event }}",
    "at {{ event.occurred }}",
    "{{ event.occurred.isoformat() }}",
    "{{ event.occurred.year }}",
    "id {{ event.id }}",
    "{{ event.id | string }}",
    "{{ event.resource.id }}",
    "{{ event.resource['hookline.subject'] }}",
    "{{ event.resource }}",
    "{{ event.related }}",
    "{{ event.resource.get('nope') }}",
    "{{ event.find_resource_label('hookline.source') }}",
    "{{ event }}",
    "whole: {{ event.payload }}",
    "{{ event.payload | tojson }}",
    "{{ event.payload.deep | tojson(indent=2) }}",
    "{{ event.payload.n | filesizeformat }}",
    "{{ event.payload.commits[0].id }}",
    "{{ event.payload.commits[9].id }}",
    "{{ event.url }}",
    "{{ event.payload.text | flow_run_id }}",
    "{{ range(3) | list }}",
    "{{ range(1000) | list }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ event.payload.n / 0 }}",
    "{{ event.payload.n or 'x' }}",
    "{{ event.payload.n }} {# comment #}",
    "{{ '{{' }}",
    "{{ event.payload.when }}",
    jinja("{{ event.payload.n }}"),
    {"__prefect_kind": "json", "value": '{"a": [1, 2]}'},
    {"__prefect_kind": "json", "value": jinja("{{ event.payload.list | tojson }}")},
    {"__prefect_kind": "json", "value": "not json"},
    {"__prefect_kind": "json", "value": jinja("not {{ event.payload.n }} json")},
    {"__prefect_kind": "json"},
    {"__prefect_kind": "none", "value": {"a": jinja("{{ event.event }}")}},
    {"__prefect_kind": "none"},
    {"__prefect_kind": "unheard-of", "value": 7},
    ["{{ event.payload.n }}", ["{{ event.payload.n }}"], {"a": "{{ event.payload.n }}"}],
    {"a": {"b": {"c": ["{{ event.payload.text }}", 1, None, True]}}},
    1, 1.5, True, None, [], {},
]  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES, ids=repr)
async def test_a_parameter_renders_as_prefect_renders_it(template: Any) -> None:
    """Types are kept, text is text, and what Prefect cannot render starts no run here either."""
    await check_parity({"p": template})


SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4) | st.sampled_from(TEMPLATES)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(parameters=st.dictionaries(st.text(min_size=1, max_size=4), TREES, max_size=3))
@settings(max_examples=50, deadline=None)
async def test_whole_trees_of_parameters_render_as_prefect_renders_them(parameters: dict[str, Any]) -> None:
    """Nesting, several templates at once, the first failure of several."""
    await check_parity(parameters)


async def check_parity(parameters: dict[str, Any]) -> None:
    logging.getLogger("prefect.server.utilities.user_templates").setLevel(logging.ERROR)
    try:
        # Prefect's hydration writes into the tree it is given, and examples share their templates.
        expected = await stock_render(deepcopy(parameters))
    except TypeError:
        # Prefect renders an explicit template that stands in a list twice, and trips over a result that is no
        # text; here it is rendered once (see below).
        deploy_and_render(parameters)
    except (ActionFailed, HydrationError, ValueError):
        with pytest.raises(RenderError):
            deploy_and_render(parameters)
    else:
        assert deploy_and_render(parameters) == expected


def deploy_and_render(parameters: dict[str, Any]) -> dict[str, Any]:
    template_names(parameters)
    return opened(render_parameters(a_trigger(parameters), EVENT))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ event.id }}", "0197a2c4-5b6d-7e8f-9a0b-1c2d3e4f5a6b"),
        ("{{ event.occurred }}", "2026-11-24T03:00:00.250000Z"),
    ],
)
async def test_two_templates_work_that_fail_with_prefect(template: str, value: str) -> None:
    """Prefect puts a lone expression through JSON, which has neither ids nor times; here they become text."""
    with pytest.raises(HydrationError):
        await stock_render({"p": template})
    assert render_parameters(a_trigger({"p": template}), EVENT) == {"p": value}


def test_a_template_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of the next event is rendered from that one."""
    compiled = 0
    stock = UserTemplateEnvironment.compile

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal compiled
        compiled += 1
        return stock(self, *args, **options)

    monkeypatch.setattr(UserTemplateEnvironment, "compile", counted)
    trigger = a_trigger({"n": jinja("only here: {{ event.payload.n }}")})
    rendered = [render_parameters(trigger, replace(EVENT, data={"n": n})) for n in (1, 2, 3)]

    assert rendered == [{"n": f"only here: {n}"} for n in (1, 2, 3)]
    assert compiled == 1


def test_rendering_leaves_the_trigger_as_it_was() -> None:
    """The next event finds the templates, not the values."""
    trigger = a_trigger({"a": ["{{ event.payload.n }}"], "b": {"c": "{{ event.event }}"}})
    before = trigger.to_dict()
    render_parameters(trigger, EVENT)
    assert trigger.to_dict() == before


def test_an_explicit_template_in_a_list_is_rendered_once() -> None:
    """Prefect renders its result again, as a template that the sender wrote."""
    rendered = render_parameters(a_trigger({"p": [jinja("{{ event.payload.quote }}")]}), EVENT)
    assert rendered == {"p": [EVENT.data["quote"]]}


def test_a_form_that_prefects_hydration_trips_over_is_a_dead_letter() -> None:
    """A template that is itself rendered to a number: an error of rendering, not of the dispatcher."""
    template = {"__prefect_kind": "jinja", "template": {"__prefect_kind": "json", "value": "5"}}
    with pytest.raises(RenderError, match="not a form"):
        render_parameters(a_trigger({"p": template}), EVENT)


def test_a_sender_cannot_put_templates_into_its_data() -> None:
    """Data is rendered, never rendered again."""
    rendered = render_parameters(a_trigger({"p": "{{ event.payload.quote }}"}), EVENT)
    assert rendered == {"p": 'it\'s <b>"bold"</b> & {{ event.id }}'}


MARKED = {"$ref": {"block_document_id": "x"}}


@pytest.mark.parametrize(
    "template",
    [
        "{{ event.payload.x }}",
        ["{{ event.payload.x }}"],
        {"deep": [{"er": "{{ event.payload.x }}"}]},
        as_json("{{ event.payload.x | tojson }}"),
        as_json('{"$ref": {"block_document_id": "{{ event.payload.y }}"}}'),
        as_json('{"{{ event.payload.key }}": {{ event.payload.x["$ref"] | tojson }}}'),
        {"__prefect_kind": "none", "value": {"a": as_json("{{ event.payload.x | tojson }}")}},
        {"__prefect_kind": "none", "value": jinja("{{ event.payload.nul }}")},
        "{{ event.payload.items() | map(\"first\") | list }}{{ event.payload.nul }}",
    ],
    ids=repr,
)  # fmt: skip
def test_what_templates_make_of_an_event_is_sealed(template: Any) -> None:
    """A marker of Prefect's that the data has, or that is only made when the template is rendered."""
    event = replace(EVENT, data={"x": MARKED, "y": "x", "key": "$ref", "nul": "a\x00"})
    rendered = render_parameters(a_trigger({"p": template, "plain": "{{ event.payload.y }}"}), event)
    assert is_sealed(rendered["p"])
    assert rendered["plain"] == "x"
    assert seal(rendered["p"]) != rendered["p"]


def test_what_the_author_wrote_is_left_to_prefect() -> None:
    """A block that the author names, beside what the sender wrote."""
    event = replace(EVENT, data={"x": MARKED})
    parameters = {
        "block": {"$ref": "written-by-the-author"},
        "parsed": {"__prefect_kind": "json", "value": '{"$ref": "written-by-the-author"}'},
        "mixed": {"block": {"$ref": "written-by-the-author"}, "theirs": "{{ event.payload.x }}"},
    }
    rendered = render_parameters(a_trigger(parameters), event)
    assert rendered == {
        "block": {"$ref": "written-by-the-author"},
        "parsed": {"$ref": "written-by-the-author"},
        "mixed": {"block": {"$ref": "written-by-the-author"}, "theirs": seal(MARKED)},
    }


@pytest.mark.parametrize(
    ("parameter", "chosen"),
    [
        ({"$ref": "{{ event.payload.id }}"}, "which block is loaded"),
        ({"a": [{"$ref": {"block_document_slug": "secret/{{ event.subject }}"}}]}, "which block is loaded"),
        (
            {"__prefect_kind": "workspace_variable", "variable_name": jinja("{{ event.payload.name }}")},
            "which variable is read",
        ),
        (jinja(jinja("{{ event.payload.template }}")), "what is rendered"),  # type: ignore[arg-type]
    ],
)
def test_a_sender_is_not_let_choose_what_prefect_interprets(parameter: Any, chosen: str) -> None:
    """Found before it is deployed; a trigger that was deployed earlier makes a dead letter."""
    with pytest.raises(RenderError, match=chosen):
        template_names({"p": parameter})
    with pytest.raises(RenderError, match=chosen):
        render_parameters(a_trigger({"p": parameter}), EVENT)


def test_what_is_missing_is_named() -> None:
    """The reason of a dead letter has to be understood by somebody."""
    with pytest.raises(RenderError, match=r"f/d/t: .*the event has no 'missing'"):
        render_parameters(a_trigger({"p": "{{ event.payload.missing }}"}), EVENT)


@pytest.mark.parametrize(("data", "payload"), [(None, {}), ([1, 2], [1, 2]), ("text", "text"), (7, 7)])
def test_data_of_any_form_is_the_payload(data: Any, payload: Any) -> None:
    """Prefect's payloads are objects; an event's data may be any JSON, and without data it is empty."""
    event = Event(id=EVENT.id, type="a", source="s", time=MOMENT, accepted=MOMENT, data=data)
    assert render_parameters(a_trigger({"p": "{{ event.payload }}"}), event) == {"p": payload}


def test_without_parameters_the_flow_gets_the_event() -> None:
    """Whole, as `hookline.Event` reads it back; with a claim check where the data must not travel."""
    trigger = a_trigger(None, passes_event=True)
    assert Event.from_dict(render_parameters(trigger, EVENT)["event"]) == EVENT
    claim = Claim("http://gateway/events/1/body", "token")
    light = Event(id=EVENT.id, type="a", source="s", time=MOMENT, accepted=MOMENT, claim=claim)
    assert render_parameters(trigger, light)["event"]["claim"] == {"url": claim.url, "token": claim.token}


def test_a_flow_that_takes_no_event_gets_none() -> None:
    """Prefect would refuse a parameter that the flow does not have."""
    assert render_parameters(a_trigger(None), EVENT) == {}


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"a": "{{ event.payload.x }}", "b": [{"c": "{{ event.id }} {{ range(3) }}"}]}, {"event"}),
        (
            {"a": "{{ flow_run.id }}", "b": "{% for f in firings %}{{ f }}{% endfor %}"},
            {"flow_run", "firings"},
        ),
        ({"a": {"__prefect_kind": "workspace_variable", "variable_name": "x"}}, {"variables"}),
        ({"a": "{% set x = event.payload %}{{ x.y }}"}, {"event"}),
        ({"a": 1, "b": "no template"}, set()),
    ],
)
def test_the_names_that_templates_use_are_found(parameters: dict[str, Any], names: set[str]) -> None:
    """Names that a template makes itself, and Jinja's own, are not asked for."""
    assert template_names(parameters) == names


@pytest.mark.parametrize("template", ["{{ event. }}", "{% for %}", "{{ event | no_such_filter }}"])
def test_a_template_that_can_never_work_is_found_before_it_is_deployed(template: str) -> None:
    """Not by the first event that needs it."""
    with pytest.raises(RenderError, match="Invalid jinja"):
        template_names({"a": template})
