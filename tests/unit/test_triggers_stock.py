"""Prefect's grammar as it is written down here, held against the models of the Prefect that is installed."""

from __future__ import annotations

import inspect
import re
import time
from datetime import UTC, datetime
from typing import Any

import prefect.deployments.steps
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect._internal.schemas.validators import validate_cron_string
from prefect._internal.versioning import VersionType
from prefect.cli.deploy import _models as deploy
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule, RRuleSchedule
from prefect.events.schemas import automations, deployment_triggers
from prefect.server.events import actions
from prefect.types.names import BANNED_CHARACTERS
from pydantic import BaseModel, TypeAdapter, ValidationError

from hookline.errors import RenderError
from hookline.triggers import rendering, stock, templates
from hookline.triggers.keeping import PREFECT_NAMES
from hookline.triggers.reading import _BANNED
from hookline.triggers.schedules import schedule_faults
from hookline.triggers.steps import OWN
from hookline.triggers.validating import validate

PAIRS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (stock.ProjectFile, deploy.PrefectYamlModel),
    (stock.WorkPool, deploy.WorkPoolConfig),
    (stock.ConcurrencyLimit, deploy.ConcurrencyLimitSpec),
    (stock.Entry, deploy.DeploymentConfig),
    (stock.Schedule, deploy.RawScheduleConfig),
    (stock.EventTrigger, automations.EventTrigger),
    (stock.MetricTrigger, automations.MetricTrigger),
    (stock.MetricQuery, automations.MetricTriggerQuery),
    (stock.CompoundTrigger, automations.CompoundTrigger),
    (stock.SequenceTrigger, automations.SequenceTrigger),
    (stock.DeploymentEventTrigger, deployment_triggers.DeploymentEventTrigger),
    (stock.DeploymentMetricTrigger, deployment_triggers.DeploymentMetricTrigger),
    (stock.DeploymentCompoundTrigger, deployment_triggers.DeploymentCompoundTrigger),
    (stock.DeploymentSequenceTrigger, deployment_triggers.DeploymentSequenceTrigger),
]


@pytest.mark.parametrize(("ours", "prefects"), PAIRS, ids=lambda model: model.__name__)
def test_no_key_that_prefect_knows_is_refused(ours: type[BaseModel], prefects: type[BaseModel]) -> None:
    """And none is let through that it would ignore."""
    assert {f.alias or name for name, f in ours.model_fields.items()} == {
        f.alias or name for name, f in prefects.model_fields.items()
    }


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 99) | st.floats(0, 99) | st.sampled_from(
        ["", "a", "Reactive", "Proactive", "Metric", "PT5M", "any", "all", "order.*", "1", "true", "x y"]
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(st.data())
def test_an_event_trigger_is_judged_as_prefect_judges_it(data: st.DataObject) -> None:
    """Whatever stands under its keys."""
    keys = [key for key in stock.DeploymentEventTrigger.model_fields if key != "type"]
    raw = data.draw(st.dictionaries(st.sampled_from(keys), VALUES, max_size=3))
    if raw.get("within", 0) is None:
        return  # Prefect's model says so with an error of its own kind.
    assert accepts(stock.DeploymentEventTrigger, raw) == accepts(
        deployment_triggers.DeploymentEventTrigger, raw
    )


@given(st.data())
def test_an_entry_is_judged_as_prefect_judges_it(data: st.DataObject) -> None:
    """Prefect says nothing but "skipping deployment configuration", and deploys none of them."""
    # What has a model of its own is left to that one.
    apart = (
        "schedule",
        "schedules",
        "triggers",
        "sla",
        "concurrency_limit",
        "work_pool",
        "build",
        "push",
        "pull",
    )
    keys = [key for key in stock.Entry.model_fields if key not in apart]
    raw = data.draw(st.dictionaries(st.sampled_from(keys), VALUES, max_size=3))
    assert accepts(stock.Entry, raw) == accepts(deploy.DeploymentConfig, raw)


def accepts(model: type[BaseModel], raw: dict[str, Any]) -> bool:
    try:
        model.model_validate(raw)
    except (ValidationError, TypeError):
        return False
    return True


@given(st.data())
def test_a_metric_is_judged_as_prefect_judges_it(data: st.DataObject) -> None:
    """Its name, its comparison, and how long it looks back."""
    metric = {
        "name": data.draw(st.sampled_from(["duration", "successes", "lateness", "durations", 1])),
        "operator": data.draw(st.sampled_from(["<", ">=", "=", "lt"])),
        "threshold": data.draw(st.sampled_from([0, 0.5, "1", "many", None])),
        "range": data.draw(st.sampled_from([60, 300, "PT10M", "long"])),
    }
    assert accepts(stock.MetricTrigger, {"metric": metric}) == accepts(
        automations.MetricTrigger, {"metric": metric}
    )


@pytest.mark.parametrize("require", [0, 1, 2, 3, -1, "any", "all", "some", True, None])
def test_how_many_of_a_compound_trigger_are_wanted_is_judged_as_prefect_judges_it(require: object) -> None:
    """Not more than there are."""
    written = {"triggers": [{"expect": ["a"]}, {"expect": ["b"]}], "require": require}
    assert accepts(stock.CompoundTrigger, written) == accepts(automations.CompoundTrigger, written)


@given(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["late", 1])},
        optional={
            "severity": st.sampled_from(["high", "urgent"]),
            "enabled": st.sampled_from([True, None, "nope"]),
            "duration": st.sampled_from([60, "long"]),
            "stale_after": st.sampled_from([60, "PT1H", "long"]),
            "within": st.sampled_from([60, "long"]),
        },
    )
)
def test_a_service_level_is_judged_as_prefect_judges_it(level: dict[str, Any]) -> None:
    """But for one of several kinds: Prefect takes the first and forgets the others."""
    kinds = [key for key in ("duration", "stale_after", "within") if key in level]
    valid = accepts(deploy.DeploymentConfig, {"sla": [level]})
    assert accepts(stock.Sla, level) == (valid and len(kinds) == 1)


@pytest.mark.parametrize("limit", [
    {"limit": 1}, {"limit": 1, "collision_strategy": None}, {"limit": 1, "collision_strategy": "ENQUEUE"},
    {"limit": 1, "collision_strategy": "CANCEL_NEW", "grace_period_seconds": 60},
    {"limit": 1, "collision_strategy": "enqueue"}, {"collision_strategy": "CANCEL_OLD"},
    {"limit": 1, "collision_strategy": "ENQUEUE", "grace_period_seconds": 5},
], ids=str)  # fmt: skip
def test_a_concurrency_limit_is_judged_as_by_the_deployment_that_is_made_of_it(limit: dict[str, Any]) -> None:
    """Prefect's file takes more than its deployments do, and `prefect deploy` then ends in a traceback."""
    made = {key: value for key, value in limit.items() if key != "limit"} | {
        "collision_strategy": limit.get("collision_strategy")
    }
    assert accepts(stock.ConcurrencyLimit, limit) == accepts(ConcurrencyOptions, made)


def test_the_types_of_versions_are_prefects() -> None:
    """Any other text passes the file and fails the deployment."""
    assert {each.value for each in VersionType} == set(stock.VERSION_TYPES)


def test_the_steps_written_down_here_are_prefects() -> None:
    """With their inputs, and which of them are required."""
    functions = {
        name: inspect.signature(function).parameters.values()
        for name, function in vars(prefect.deployments.steps).items()
        if inspect.isfunction(function) and name != "run_step"
    }
    assert functions.keys() == OWN.keys()
    for name, (required, further) in OWN.items():
        inputs = [each for each in functions[name] if each.kind is not inspect.Parameter.VAR_KEYWORD]
        assert {each.name for each in inputs if each.default is each.empty} == set(required), name
        assert {each.name for each in inputs if each.default is not each.empty} == set(further or ()), name
        assert (further is None) == (len(inputs) < len(functions[name])), name


@pytest.mark.parametrize(
    "trigger",
    [
        {"expect": ["a"]}, {"posture": "Metric"}, {"posture": "Proactive"}, {"triggers": []},
        {"triggers": [], "require": "all"}, {"type": "compound"}, {"type": "nonsense"}, {"require": 1},
    ],
    ids=str,
)  # fmt: skip
def test_the_type_of_a_trigger_is_the_one_that_prefect_finds(trigger: dict[str, Any]) -> None:
    """Where the file does not say."""
    assert stock.kind_of(trigger) == deployment_triggers.deployment_trigger_discriminator(trigger)


@given(st.from_regex(r"[0-9*/,LMONJAn#? -]{0,12}( [0-9*/,-]{1,4}){0,6}", fullmatch=True))
def test_cron_is_judged_as_prefect_judges_it(cron: str) -> None:
    """By the parser that it brings along."""
    try:
        validate_cron_string(cron)
        valid = True
    except ValueError:
        valid = False
    assert (not list(schedule_faults({"cron": cron}))) == valid


@pytest.mark.parametrize(
    ("schedule", "valid"),
    [
        ({"cron": "0 3 * * *", "timezone": "Europe/Berlin"}, True),
        ({"cron": "0 3 * * *", "timezone": "Europe/Berln"}, False),
        ({"cron": "0 3 * *"}, False),
        ({"cron": "@daily"}, True),
        ({"cron": "61 * * * *"}, False),
        ({"cron": "R R * * *"}, False),
        ({"rrule": "FREQ=DAILY;COUNT=3"}, True),
        ({"rrule": "FREQ=NEVER"}, False),
        ({"rrule": "nonsense"}, False),
        ({"interval": 0}, False),
        ({"interval": 60}, True),
        ({"interval": "PT5M"}, True),
        ({"interval": 60, "anchor_date": datetime(2026, 1, 1, tzinfo=UTC)}, True),
        ({"interval": 60, "anchor_date": datetime(2026, 1, 1, tzinfo=UTC), "slug": "hourly"}, False),
        ({"interval": 60, "anchor_date": "2026-01-01T00:00:00Z", "slug": "hourly"}, True),
        ({"interval": 60, "anchor_date": "2026-01-01T00:00:00Z"}, True),
        ({"interval": 60, "anchor_date": "2026-01-01"}, True),
        ({"interval": 60, "anchor_date": "2026/01/01 03:00"}, True),
        ({"interval": 60, "anchor_date": "the first of May"}, False),
        ({"interval": 60, "anchor_date": "{{ $ANCHOR }}"}, True),
        ({"cron": "0 3 * * *", "interval": 60}, False),
        ({"timezone": "UTC"}, False),
        ({"interval": "PT0S"}, False),
        ({"interval": "-PT5M"}, False),
        ({"interval": "{{ $INTERVAL }}"}, False),
        ({}, False),
        ({"cron": "{{ $CRON }}", "timezone": "{{ $ZONE }}"}, True),
    ],
    ids=str,
)
def test_schedules_are_checked(schedule: dict[str, Any], valid: bool) -> None:
    """Each kind, and the time zone."""
    fits = accepts(stock.Schedule, schedule) and not list(schedule_faults(schedule))
    assert fits == valid
    assert accepts(deploy.DeploymentConfig, {"schedules": [schedule]}) or not valid
    if "cron" in schedule and "interval" not in schedule and "{{" not in str(schedule):
        assert accepts(CronSchedule, schedule) == valid
    if "rrule" in schedule:
        assert accepts(RRuleSchedule, schedule) == valid


@pytest.mark.parametrize(
    "text",
    [
        "{{ event.id }}", "{{ event. }}", "{{ event.id | nope }}", "{% for x in events %}{{ x }}{% endfor %}",
        "{{ flow_run | ui_url }}", "{{ event.payload.n | humanize_naturalsize }}", "{{ range(3) }}", "plain",
        "{{ event.payload | tojson }}", "{% if event %}", "{{ a }}{{ b }}", "{{ event.id | flow_run_id }}",
    ],
)  # fmt: skip
def test_a_template_is_judged_without_prefect_as_with_it(text: str) -> None:
    """The names that it takes from outside, or that it is not valid."""

    def verdict(look: Any) -> set[str] | None:
        try:
            return set(look({"a": [{"b": text}], "c": {"__prefect_kind": "jinja", "template": text}}))
        except RenderError:
            return None

    assert verdict(templates.template_names) == verdict(rendering.template_names)


@pytest.mark.parametrize("look", [templates.template_names, rendering.template_names])
@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 10 ** 11 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 'a' | center(10 ** 11) }}",
        "{{ '%99999999999d' | format(5) }}",
    ],
)
def test_looking_at_a_template_calculates_nothing(look: Any, text: str) -> None:
    """What is constant would be worked out by compiling, for minutes, and with gigabytes."""
    began = time.process_time()
    assert look({"p": text}) == set()
    assert time.process_time() - began < 0.5


def test_a_template_may_use_what_prefect_gives_to_one() -> None:
    """Whatever else stands in one is a slip, or comes from a step of the deployment."""
    given = inspect.getsource(actions.JinjaTemplateAction._template_context)
    native = inspect.getsource(actions.JinjaTemplateAction._relevant_native_objects)
    kinds = re.search(r"orchestration_types = {(.*?)}", native, re.DOTALL)
    assert kinds is not None
    names = set(re.findall(r'^ +"(\w+)":', given, re.MULTILINE)) | set(re.findall(r'"(\w+)"', kinds[1]))
    assert names | {"variables", "prefect"} == PREFECT_NAMES


def test_names_are_banned_as_by_prefect() -> None:
    """Of deployments."""
    assert {sign for sign in map(chr, range(128)) if _BANNED.match(sign)} == set(BANNED_CHARACTERS)


def test_stock_prefect_takes_the_key_that_lets_a_trigger_start_itself() -> None:
    """It ignores it, so the file stays valid."""
    adapter: TypeAdapter[Any] = TypeAdapter(deployment_triggers.DeploymentTriggerTypes)
    written = {"type": "event", "expect": ["prefect.*"]}
    assert adapter.validate_python({**written, "may_start_itself": True}) == adapter.validate_python(written)


def test_what_is_filled_in_later_may_be_of_any_kind() -> None:
    """`enabled: "{{ prefect.variables.on }}"` is no text once Prefect has read it."""
    raw = {"enabled": "{{ prefect.variables.on }}", "threshold": "three"}
    assert [wrong.path for wrong in validate(raw, stock.DeploymentEventTrigger, "a trigger")] == [
        ("threshold",)
    ]
