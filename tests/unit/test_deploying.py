"""What `hookline deploy` refuses before it asks anybody, and how it binds triggers to flows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hookline.deploying import Plan, carry_out, plan_deploy
from hookline.errors import DeployError, HooklineError
from hookline.flow_facts import FlowFacts
from hookline.triggers import Trigger

PROJECT = """\
    deployments:
      - name: on-order
        entrypoint: flows.orders.record
        triggers:
          - {type: event, name: placed, expect: [order.placed], where: data.total > 100.0}
          - {type: event, name: templated, expect: [order.paid], parameters: {event: "{{ event }}"}}
      - name: nightly
        entrypoint: flows.orders.sum_up
        schedules:
          - {cron: "0 3 * * *", timezone: Europe/Berlin}
    """


def schema(*required: str, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"properties": {name: {} for name in (*required, *optional)}, "required": list(required)}


FLOWS = {
    "flows.orders.record": FlowFacts("record-order", schema(optional=("event",))),
    "flows.orders.needs_event": FlowFacts("needs-event", schema("event")),
    "flows.orders.sum_up": FlowFacts("sum-up", {}),
    "flows.orders.needs": FlowFacts("needs", schema("order", "day")),
}


class Prefect:
    """A server that has everything, and flows that are known; test_deploy.py of integration has real ones."""

    def __init__(self) -> None:
        self.deployed: list[str] = []

    async def flows(self, entrypoints: Iterable[str]) -> dict[str, FlowFacts]:
        return {entrypoint: FLOWS[entrypoint] for entrypoint in entrypoints}

    async def faulty_templates(self, parameters: Sequence[Mapping[str, Any]]) -> list[str | None]:
        return ["too many loops" if "loops" in str(each) else None for each in parameters]

    async def prepare(
        self, wait: timedelta, pool: str | None, pools: Iterable[str]
    ) -> tuple[bool, list[str]]:
        return False, []

    async def deploy(self, project: str, lanes: Sequence[str]) -> None:
        self.deployed += lanes


async def plan(tmp_path: Path, *changes: tuple[str, str], only: list[str] | None = None) -> Plan:
    text = textwrap.dedent(PROJECT)
    for written, instead in changes:
        assert written in text
        text = text.replace(written, instead)
    path = tmp_path / "prefect.yaml"
    path.write_text(text)
    return await plan_deploy(path, Prefect(), only=only)


async def test_triggers_are_bound_to_their_flows(tmp_path: Path) -> None:
    """The id has the flow's own name; the event is passed where the flow takes it, unless templates do."""
    triggers = {trigger.id: trigger for trigger in (await plan(tmp_path)).triggers}
    assert {id: trigger.passes_event for id, trigger in triggers.items()} == {
        "record-order/on-order/placed": True,
        "record-order/on-order/templated": False,
    }


async def test_a_flow_without_a_parameter_event_is_not_given_one(tmp_path: Path) -> None:
    """Prefect would refuse the run."""
    change = ("flows.orders.record", "flows.orders.sum_up")
    assert not any(trigger.passes_event for trigger in (await plan(tmp_path, change)).triggers)


async def test_chosen_deployments_are_planned_alone(tmp_path: Path) -> None:
    """In the order of the file."""
    chosen = await plan(tmp_path, only=["nightly"])
    assert [deployment.name for deployment, _ in chosen.deployments] == ["nightly"]
    assert chosen.triggers == ()
    assert not chosen.whole


@pytest.mark.parametrize(
    ("written", "instead", "error", "why"),
    [
        ("name: nightly", "name: on-order", DeployError,
         "prefect.yaml:7:5: another deployment is named 'on-order', in line 2"),
        ("entrypoint: flows.orders.sum_up", "tags: []", DeployError, "nightly has no `entrypoint`"),
        ("flows.orders.sum_up", "flows.orders.needs", DeployError,
         "nightly has a schedule that leaves the required parameter 'order' of flow needs unset"),
        ("flows.orders.record", "flows.orders.needs", DeployError,
         "prefect.yaml:5:9: trigger placed of deployment on-order leaves the required parameter 'order'"),
        ("where: data.total > 100.0", "where: data.total >", DeployError, "prefect.yaml:5:"),
        ("where: data", "threshold: 2, where: data", DeployError, "its threshold is 2"),
    ],
)  # fmt: skip
async def test_mistakes_are_refused(
    tmp_path: Path, written: str, instead: str, error: type[HooklineError], why: str
) -> None:
    """Before anything is deployed, with the place and what to do."""
    with pytest.raises(error) as refused:
        await plan(tmp_path, (written, instead))
    assert why in str(refused.value)


DEFAULTS = ("    schedules:", "    parameters: {order: a}\n    schedules:")
OF_SCHEDULE = ("timezone: Europe/Berlin", "parameters: {day: b}")


async def test_parameters_may_come_from_the_deployment_and_the_schedule(tmp_path: Path) -> None:
    """Both together must set all that the flow requires."""
    flow = ("flows.orders.sum_up", "flows.orders.needs")
    assert len((await plan(tmp_path, flow, DEFAULTS, OF_SCHEDULE)).deployments) == 2
    with pytest.raises(DeployError, match="'day'"):
        await plan(tmp_path, flow, DEFAULTS)
    with pytest.raises(DeployError, match="'order'"):
        await plan(tmp_path, flow, OF_SCHEDULE)


async def test_a_trigger_satisfies_a_required_event(tmp_path: Path) -> None:
    """`event` without a default is set by the trigger, by itself or by a template."""
    planned = await plan(tmp_path, ("flows.orders.record", "flows.orders.needs_event"))
    assert len(planned.triggers) == 2


class Store:
    """A trigger store in memory."""

    def __init__(self, *triggers: Trigger) -> None:
        self.version = 1
        self.documents = [trigger.to_dict() for trigger in triggers]

    async def trigger_set(self) -> tuple[int, list[dict[str, Any]]]:
        return self.version, self.documents

    async def save_trigger_set(self, triggers: Sequence[Trigger]) -> int:
        documents = [trigger.to_dict() for trigger in triggers]
        self.version += documents != self.documents
        self.documents = documents
        return self.version


OLD = [
    Trigger(flow="sum-up", deployment="nightly", name="old", expect=("a",)),
    Trigger(flow="record-order", deployment="on-order", name="old", expect=("a",)),
]


async def always(_: Sequence[str]) -> bool:
    return True


@pytest.mark.parametrize(
    ("only", "in_force"),
    [
        (None, ["record-order/on-order/placed", "record-order/on-order/templated"]),
        (["nightly"], ["record-order/on-order/old"]),
        (
            ["on-order"],
            ["record-order/on-order/placed", "record-order/on-order/templated", "sum-up/nightly/old"],
        ),
    ],
)
async def test_chosen_deployments_leave_the_others_in_force(
    tmp_path: Path, only: list[str] | None, in_force: list[str]
) -> None:
    """`hookline deploy NAME` replaces the triggers of that deployment; without names, all are replaced.

    The same again is the same version.
    """
    store = Store(*OLD)
    planned = await plan(tmp_path, only=only)
    report = await carry_out(planned, store, Prefect(), agree=always)
    assert [trigger.id for trigger in report.kept] == in_force
    assert (report.version, report.changed) == (2, True)
    again = await carry_out(planned, store, Prefect())
    assert (again.version, again.changed) == (2, False)


@pytest.mark.parametrize(
    ("only", "gone"),
    [
        (None, ["record-order/on-order/old", "sum-up/nightly/old"]),
        (["nightly"], ["sum-up/nightly/old"]),
        (["on-order"], ["record-order/on-order/old"]),
    ],
)
async def test_no_trigger_is_taken_away_unasked(
    tmp_path: Path, only: list[str] | None, gone: list[str]
) -> None:
    """It is named, and without agreement nothing is deployed at all."""
    store, prefect = Store(*OLD), Prefect()
    planned = await plan(tmp_path, only=only)
    with pytest.raises(DeployError) as refused:
        await carry_out(planned, store, prefect)
    assert all(id in str(refused.value) for id in gone)
    assert "--prune" in str(refused.value)
    assert (store.version, prefect.deployed) == (1, [])

    asked: list[Sequence[str]] = []

    async def agree(ids: Sequence[str]) -> bool:
        asked.append(ids)
        return True

    report = await carry_out(planned, store, prefect, agree=agree)
    assert (list(report.removed), [list(ids) for ids in asked]) == (gone, [gone])


async def test_a_first_deploy_and_a_further_trigger_ask_nothing(tmp_path: Path) -> None:
    """Nothing goes."""
    store = Store()
    assert (await carry_out(await plan(tmp_path), store, Prefect())).removed == ()
    more = (
        "- {type: event, name: templated",
        "- {type: event, name: more, expect: [a]}\n      - {type: event, name: templated",
    )
    assert (await carry_out(await plan(tmp_path, more), store, Prefect())).removed == ()


async def test_what_came_into_force_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    """By somebody who does not hold the lock: an older Hookline, say."""
    store = Store()

    class Slow(Prefect):
        async def deploy(self, project: str, lanes: Sequence[str]) -> None:
            await store.save_trigger_set(OLD)

    with pytest.raises(DeployError, match="Something else changed"):
        await carry_out(await plan(tmp_path), store, Slow())


async def test_what_prefect_finds_wrong_with_a_template_is_told(tmp_path: Path) -> None:
    """With its place: it has rules of its own besides Jinja's."""
    with pytest.raises(DeployError, match=r"prefect.yaml:6:9: trigger templated .* too many loops"):
        await plan(tmp_path, ('"{{ event }}"', '"{{ event.loops }}"'))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nigthly", "no deployment 'nigthly'; did you mean nightly?"),
        ("zzz", "no deployment 'zzz'; it has on-order, nightly"),
        ("sum-up/nigthly", "no deployment 'sum-up/nigthly'; did you mean nightly?"),
        ("sum-upp/nightly", "no deployment 'sum-upp/nightly'; did you mean sum-up/nightly?"),
        ("", "no deployment ''; it has"),
    ],
)
async def test_an_unknown_name_is_told_with_the_one_that_was_meant(
    tmp_path: Path, name: str, why: str
) -> None:
    """A slip in `hookline deploy NAME`."""
    with pytest.raises(DeployError) as refused:
        await plan(tmp_path, only=[name])
    assert why in str(refused.value)


async def test_a_deployment_is_chosen_by_the_name_that_deploy_prints(tmp_path: Path) -> None:
    """`flow/deployment`, or the deployment's name alone."""
    for only in (["sum-up/nightly"], ["nightly"], ["nightly", "sum-up/nightly"]):
        chosen = await plan(tmp_path, only=only)
        assert [deployment.name for deployment, _ in chosen.deployments] == ["nightly"]


async def test_a_loop_that_only_the_flows_real_name_shows_is_refused(tmp_path: Path) -> None:
    """The source cannot be looked at here; the flow says that it is called `sum-up`."""
    related = "match_related: {prefect.resource.role: flow, prefect.resource.name: NAME}"
    trigger = f"triggers: [{{expect: [prefect.flow-run.Failed], {related}}}]\n    schedules:"
    await plan(tmp_path, ("schedules:", trigger.replace("NAME", "record-order")))
    with pytest.raises(DeployError, match=r"prefect\.yaml:9:.*runs without end"):
        await plan(tmp_path, ("schedules:", trigger.replace("NAME", "sum-up")))


async def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Also what is only known once the flows are."""
    with pytest.raises(DeployError) as refused:
        await plan(
            tmp_path,
            ("flows.orders.sum_up", "flows.orders.needs"),
            ("flows.orders.record", "flows.orders.needs"),
        )
    assert [fault.place and fault.place.line for fault in refused.value.faults] == [5, 6, 10]


async def test_what_is_probably_not_meant_is_warned_of(tmp_path: Path) -> None:
    """It is allowed, so it is deployed, and said."""
    planned = await plan(
        tmp_path,
        ("name: templated, expect: [order.paid]", "name: often, expect: [order.paid], threshold: 3"),
        ("where: data.total > 100.0", "match_related: {prefect.resource.role: flow}"),
        ("name: nightly", "description: has no name"),
    )
    unnamed, related, mirror = planned.warnings
    assert "1 deployments have no name" in unnamed
    assert "record-order/on-order/placed: `match_related` can never hold" in related
    assert "on-order/often stays with Prefect, because its threshold is 3" in mirror
    assert "`hookline.order.paid`" in mirror
