"""What Hookline keeps of a `prefect.yaml`, what stays with Prefect, and what is a mistake."""

from __future__ import annotations

import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.events import DeploymentTriggerTypes
from pydantic import TypeAdapter

from hookline.errors import DeployError, TriggerError
from hookline.triggers import Concurrency, Debounce, Delay, Trigger
from hookline.triggers.keeping import keep
from hookline.triggers.project import Project, read_project


def kept(**keys: Any) -> Trigger:
    verdict = keep({"type": "event", "name": "t", "expect": ["order.placed"], **keys}, "on-order")
    assert isinstance(verdict, Trigger), verdict
    return verdict


def why_left(**keys: Any) -> str:
    verdict = keep({"type": "event", "name": "t", "expect": ["order.placed"], **keys}, "on-order")
    assert isinstance(verdict, str), verdict
    return verdict


def test_a_plain_event_trigger_is_kept() -> None:
    """Reactive, threshold 1, within 0, no `after`, literal names: one run for each event."""
    assert kept() == Trigger(flow="", deployment="on-order", name="t", expect=("order.placed",))
    assert keep({"name": "t", "expect": ["order.*"]}, "d") == Trigger(
        flow="", deployment="d", name="t", expect=("order.*",)
    )


def test_prefects_own_keys_are_honoured() -> None:
    """All that Prefect would do with a trigger of this kind."""
    trigger = kept(
        expect=["b", "a", "b"],
        enabled=False,
        description="for people",
        match={"hookline.subject": "acme/*", "hookline.source": ["shop", "!other"]},
        match_related=[{"prefect.resource.role": "flow"}, {}],
        for_each=["hookline.subject", "hookline.source"],
        posture="Reactive",
        threshold=1,
        within=0,
        parameters={"n": "{{ event.payload.n }}"},
        job_variables={"env": {"A": "1"}},
        schedule_after=90,
    )
    assert trigger == Trigger(
        flow="",
        deployment="on-order",
        name="t",
        expect=("b", "a"),
        enabled=False,
        match={"hookline.subject": "acme/*", "hookline.source": ["shop", "!other"]},
        match_related=({"prefect.resource.role": "flow"},),
        for_each=("hookline.source", "hookline.subject"),
        parameters={"n": "{{ event.payload.n }}"},
        job_variables={"env": {"A": "1"}},
        schedule_after=timedelta(seconds=90),
    )


LEFT: list[tuple[dict[str, Any], str]] = [
    ({"type": "compound", "require": "all", "triggers": []}, "type compound"),
    ({"type": "sequence", "triggers": []}, "type sequence"),
    ({"posture": "Proactive", "within": 60}, "proactive"),
    ({"threshold": 2}, "threshold is 2"),
    ({"within": 10}, "within a time"),
    ({"after": ["order.created"]}, "`after` others"),
    ({"expect": []}, "no event by name"),
    ({"expect": ["*"]}, "prefect.*"),
    ({"expect": ["p*"]}, "prefect.*"),
    ({"expect": ["prefect.flow-run.Completed"]}, "prefect.*"),
    ({"expect": ["order.placed", "prefect.flow-run.*"]}, "prefect.*"),
    ({"expect": ["hookline.order.placed"]}, "hookline.*"),
    ({"expect": ["order.*.late"]}, "neither a literal"),
    ({"expect": ["order.?"]}, "neither a literal"),
    ({"expect": ["order.[ab]"]}, "neither a literal"),
    ({"expect": ["!order.placed"]}, "neither a literal"),
    ({"expect": ["**"]}, "neither a literal"),
    ({"parameters": {"x": "{{ flow_run.id }}"}}, "'flow_run'"),
    ({"parameters": {"x": [{"y": "{{ events | length }}"}]}}, "'events'"),
    ({"parameters": {"x": "{{ event.id }} {{ firing.id }}"}}, "'firing'"),
    ({"parameters": {"x": "{{ prefect.variables.x }}"}}, "'prefect'"),
    ({"parameters": {"x": "{{ build.image }}"}}, "'build'"),
    ({"parameters": {"x": {"__prefect_kind": "workspace_variable", "variable_name": "x"}}}, "'variables'"),
    ({"enabled": "{{ prefect.variables.is_prod }}"}, "`enabled` is a template"),
    ({"job_variables": {"env": {"A": "{{ build.image }}"}}}, "`job_variables` is a template"),
]


@pytest.mark.parametrize(("keys", "reason"), LEFT, ids=lambda value: str(value)[:60])
def test_everything_else_stays_with_prefect(keys: dict[str, Any], reason: str) -> None:
    """And the report says why."""
    assert reason in why_left(**keys)


@pytest.mark.parametrize(("keys", "reason"), LEFT, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize(
    "ours", [{"where": "true"}, {"concurrency": {"limit": 1}}, {"debounce": {"quiet": 1}}, {"delay": 1}]
)
def test_one_with_our_keys_that_cannot_be_kept_is_an_error(
    keys: dict[str, Any], reason: str, ours: dict[str, Any]
) -> None:
    """Prefect would ignore the keys, and start runs that the condition was to hold back."""
    with pytest.raises(TriggerError) as refused:
        why_left(**keys, **ours)
    assert reason in str(refused.value)
    assert f"`{next(iter(ours))}`" in str(refused.value)


def test_our_keys_inside_a_composed_trigger_are_an_error_too() -> None:
    """They would be ignored there just as well."""
    inner = {"type": "event", "expect": ["order.placed"], "where": "data.total > 1"}
    with pytest.raises(TriggerError, match="it has `where`"):
        keep({"type": "sequence", "name": "t", "triggers": [inner]}, "d")


@pytest.mark.parametrize("pattern", ["prefer.coffee", "prefect", "hook*", "p.*", "order.placed", "order.*"])
def test_names_near_the_reserved_ones_are_free(pattern: str) -> None:
    """Reserved are `prefect.` and `hookline.`; a `*` must not take them in."""
    overlaps = pattern == "hook*"
    verdict = keep({"name": "t", "expect": [pattern]}, "d")
    assert isinstance(verdict, str) == overlaps


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"where": " data.total > 1 "}, {"where": " data.total > 1 "}),
        ({"concurrency": {"limit": 3}}, {"concurrency": Concurrency(3)}),
        ({"concurrency": {"key": "data.id", "limit": 1}}, {"concurrency": Concurrency(1, "data.id")}),
        ({"debounce": {"quiet": "10s"}}, {"debounce": Debounce(timedelta(seconds=10))}),
        (
            {"debounce": {"quiet": 10, "max_wait": "PT1M", "key": "subject"}},
            {"debounce": Debounce(timedelta(seconds=10), timedelta(minutes=1), "subject")},
        ),
        ({"delay": "1h30m"}, {"delay": Delay(timedelta(minutes=90))}),
        ({"delay": 5}, {"delay": Delay(timedelta(seconds=5))}),
        ({"delay": {"duration": "5m"}}, {"delay": Delay(timedelta(minutes=5))}),
        ({"delay": {"until": "data.due"}}, {"delay": Delay(until="data.due")}),
    ],
)
def test_our_keys_are_read(keys: dict[str, Any], expected: dict[str, Any]) -> None:
    """The condition and the three kinds of flow control."""
    trigger = kept(**keys)
    for name, value in expected.items():
        assert getattr(trigger, name) == value


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"where": "data.ref =="}, "where: 'data.ref ==' is not CEL"),
        ({"where": True}, "where: True is not a CEL expression"),
        ({"where": None}, "where: None is not a CEL expression"),
        ({"where": "dta.x"}, "where: 'dta.x' names 'dta'"),
        ({"concurrency": 1}, "concurrency: write it as a mapping"),
        ({"concurrency": {"key": "data.id"}}, "concurrency: limit is missing"),
        ({"concurrency": {"limit": 0}}, "concurrency.limit: 0 is not"),
        ({"concurrency": {"limit": True}}, "concurrency.limit: True is not"),
        ({"concurrency": {"limit": "1"}}, "concurrency.limit: '1' is not"),
        (
            {"concurrency": {"limi": 1}},
            "concurrency.limi: it is no key of `concurrency`; did you mean `limit`?",
        ),
        (
            {"concurrency": {"limit": 1, "keys": "x"}},
            "concurrency.keys: it is no key of `concurrency`; did you",
        ),
        ({"concurrency": {"limit": 1, "key": "data."}}, "concurrency.key: 'data.' is not CEL"),
        ({"concurrency": {"limit": 1, "key": None}}, "concurrency.key: None is not"),
        ({"debounce": "10s"}, "debounce: write it as a mapping"),
        ({"debounce": {}}, "debounce: quiet is missing"),
        ({"debounce": {"quite": "1s"}}, "debounce.quite: it is no key of `debounce`; did you mean `quiet`?"),
        ({"debounce": {"quiet": "soon"}}, "debounce.quiet: 'soon' is not a duration"),
        ({"debounce": {"quiet": 0}}, "debounce.quiet: a quiet period of 0"),
        ({"debounce": {"quiet": 10, "max_wait": 5}}, "debounce.max_wait: it is shorter"),
        ({"delay": "later"}, "delay: 'later' is not a duration"),
        ({"delay": {}}, "delay: write either"),
        ({"delay": {"duration": 1, "until": "data.due"}}, "delay: write either"),
        ({"delay": {"untl": "data.due"}}, "delay.untl: it is no key of `delay`; did you mean `until`?"),
        ({"delay": {"until": 7}}, "delay.until: 7 is not a CEL"),
        ({"delay": {"duration": 1, "key": "x"}}, "delay.key: every event waits by itself"),
        ({"wher": "true"}, "`wher` is no key of a trigger; did you mean `where`?"),
        ({"concurency": {"limit": 1}}, "`concurency` is no key of a trigger; did you mean `concurrency`?"),
        ({"Where": "true"}, "`Where` is no key of a trigger; did you mean `where`?"),
        ({"name": None}, "needs a `name`"),
        ({"expect": "order.placed"}, "expect: write it as a list"),
        ({"match": {"a": 1}}, "match"),
        ({"schedule_after": -1}, "schedule_after"),
        ({"threshold": "many"}, "threshold"),
        ({"parameters": {"x": "{{ event. }}"}}, "parameters: Invalid jinja"),
        ({"parameters": {"x": "{{ event.id | nope }}"}}, "parameters: Invalid jinja"),
        ({"parameters": {"x": "{{ evnt.id }}"}}, "there is no 'evnt' in a template; did you mean 'event'?"),
        (
            {"parameters": {"x": [{"y": "{{ flw_run.id }}"}]}},
            "no 'flw_run' in a template; did you mean 'flow_run'?",
        ),
    ],
)
def test_a_mistake_is_told_by_its_key(keys: dict[str, Any], why: str) -> None:
    """Nothing of ours is guessed at, and nothing misspelt is passed over."""
    with pytest.raises(TriggerError) as refused:
        kept(**keys)
    assert why in str(refused.value)


# Prefect fills in templates before it reads the trigger, so those are not for its schema.
@pytest.mark.parametrize("keys", [{}, *(keys for keys, reason in LEFT if "template" not in reason)], ids=str)
def test_stock_prefect_takes_our_keys_and_ignores_them(keys: dict[str, Any]) -> None:
    """The same file stays valid for `prefect deploy`."""
    written = {"type": "event", "name": "t", "expect": ["order.placed"], **keys}
    stock: TypeAdapter[Any] = TypeAdapter(DeploymentTriggerTypes)
    ours = {"where": "true", "concurrency": {"limit": 1}, "debounce": {"quiet": 1}, "delay": "1h"}
    assert stock.validate_python({**written, **ours}) == stock.validate_python(written)


# The project file -----------------------------------------------------------------------------------


def a_project(tmp_path: Path, text: str, **environment: str) -> Project:
    path = tmp_path / "prefect.yaml"
    path.write_text(textwrap.dedent(text))
    return read_project(path, environment)


SHOP = """\
    name: shop
    definitions:
      placed: &placed
        type: event
        name: placed
        expect: [order.placed]
        where: data.total > 100.0
    pull:
      - prefect.deployments.steps.set_working_directory: {directory: "{{ $HERE }}"}
    deployments:
      - name: on-order
        entrypoint: flows.orders.record
        work_pool: {name: "{{ $POOL }}"}
        parameters: {currency: EUR}
        triggers:
          - *placed
          - type: event
            name: failed
            expect: [prefect.flow-run.Failed]
            match_related: {prefect.resource.name: pay, prefect.resource.role: flow}
      - name: nightly
        entrypoint: flows.orders.sum_up
        work_pool: {name: warm}
        schedules:
          - {cron: "0 3 * * *", timezone: Europe/Berlin}
      - name: copy
        entrypoint: flows.orders.copy
        triggers:
          - <<: *placed
            name: placed-too
            parameters: {at: 2026-11-24, region: "{{ $REGION }}", order: "{{ event.payload.id }}"}
    """


def test_a_project_is_read(tmp_path: Path) -> None:
    """Anchors, merges and environment variables included."""
    project = a_project(tmp_path, SHOP, POOL="warm", REGION="eu", HERE="/srv")
    assert [trigger.name for trigger in project.kept] == ["placed", "placed-too"]
    assert [(left.deployment, left.name) for left in project.left] == [("on-order", "failed")]
    first, nightly, copy = project.deployments
    assert (first.name, first.entrypoint, first.work_pool) == ("on-order", "flows.orders.record", "warm")
    assert first.parameters == {"currency": "EUR"}
    assert [schedule["cron"] for schedule in nightly.schedules] == ["0 3 * * *"]
    assert copy.kept[0].where == "data.total > 100.0"
    assert copy.kept[0].parameters == {
        "at": "2026-11-24",
        "region": "eu",
        "order": "{{ event.payload.id }}",
    }


def test_prefect_gets_the_file_without_the_kept_triggers(tmp_path: Path) -> None:
    """And nothing else changed: its own placeholders are left for it to fill in."""
    project = a_project(tmp_path, SHOP, POOL="warm", REGION="eu", HERE="/srv")
    original = yaml.safe_load(textwrap.dedent(SHOP))
    for_prefect = yaml.safe_load(project.for_prefect(project.deployments))
    original["deployments"][0]["triggers"].pop(0)
    original["deployments"][2]["triggers"] = []
    assert for_prefect == original


def test_chosen_deployments_alone_go_to_prefect(tmp_path: Path) -> None:
    """As `hookline deploy NAME` needs it."""
    project = a_project(tmp_path, SHOP, POOL="warm", REGION="eu")
    for_prefect = yaml.safe_load(project.for_prefect(project.deployments[1:2]))
    assert [deployment["name"] for deployment in for_prefect["deployments"]] == ["nightly"]


def test_the_same_file_gives_the_same_triggers(tmp_path: Path) -> None:
    """Otherwise each deploy would make a new version of the trigger set."""
    environment = {"POOL": "warm", "REGION": "eu"}
    first = a_project(tmp_path, SHOP, **environment)
    again = a_project(tmp_path, SHOP, **environment)
    assert [trigger.to_dict() for trigger in first.kept] == [trigger.to_dict() for trigger in again.kept]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            """\
            deployments:
              - name: on-order
                triggers:
                  - {type: event, name: ok, expect: [a]}
                  - type: event
                    name: late
                    expect: [order.placed]
                    threshold: 3
                    where: data.late
            """,
            "prefect.yaml:5:9: deployment on-order, trigger late: it has `where`",
        ),
        (
            """\
            deployments:
              - name: on-order
                triggers:
                  - {type: event, name: same, expect: [a]}
                  - {type: event, name: same, expect: [b]}
            """,
            "yaml:5:9: deployment on-order, trigger same: another trigger of the deployment has the same",
        ),
        (
            """\
            deployments:
              - triggers:
                  - {type: event, expect: [a]}
            """,
            "yaml:3:9: deployment number 1, trigger number 1: Hookline keeps it, and needs a `name`",
        ),
        (
            """\
            deployments:
              - triggers:
                  - {type: event, name: t, expect: [a]}
            """,
            "its deployment needs a `name`",
        ),
        (
            """\
            deployments:
              - name: d
                triggers:
                  - {type: event, name: t, expect: [a], parameters: {x: "{{ $NOT_SET }}"}}
            """,
            "the environment variable NOT_SET is not set",
        ),
        (
            """\
            deployments:
              - name: d
                triggers:
                  - {type: event, name: t, expect: [a], parameters: {x: 99999999999999999999999}}
            """,
            "it holds a value that JSON cannot hold",
        ),
        (
            """\
            x: &late
              - {type: event, name: t, expect: [a], where: "1 +"}
            deployments:
              - name: d
                triggers: *late
            """,
            "yaml:2:48: deployment d, trigger t: where:",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, why: str) -> None:
    """The line, the deployment, the trigger."""
    with pytest.raises(DeployError) as refused:
        a_project(tmp_path, text)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("deployments: [", "yaml:2:1: no YAML"),
        ("- a", "no list of `deployments`"),
        ("", "no list of `deployments`"),
        ("deployments: {a: b}", "no list of `deployments`"),
        (
            "deployment: [{name: d}]",
            "yaml:1:1: `deployment` is no key of a project; did you mean `deployments`?",
        ),
        ("deployments: [1]", "number 1: write it as a mapping"),
        ("deployments: [{name: d, triggers: 7}]", "triggers: write it as a list"),
        ("deployments: [{name: d, triggers: [7]}]", "triggers.0: write it as a mapping"),
        ("deployments: [{name: d, triggers: [{? [a] : b}]}]", "no YAML"),
    ],
)
def test_a_file_that_is_no_project_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """With what is wrong, instead of a traceback."""
    with pytest.raises(DeployError) as refused:
        a_project(tmp_path, text)
    assert why in str(refused.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """By its path."""
    with pytest.raises(DeployError, match=r"nowhere\.yaml: cannot be read: No such file"):
        read_project(tmp_path / "nowhere.yaml")
