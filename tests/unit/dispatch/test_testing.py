"""What users need for their own tests: events, their triggers, an inbox in memory; no server."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hookline.errors import DeployError
from hookline.event import BodyFormat, Draft
from hookline.testing import A_MOMENT, make_event, memory_inbox, starts

PROJECT = """
deployments:
  - name: on-push
    entrypoint: flows.repository.record_push
    work_pool: {name: warm}
    triggers:
      - type: event
        name: push-to-main
        expect: [github.push]
        where: data.ref == "refs/heads/main"
        concurrency: {key: data.repository.id, limit: 1}
        delay: 10m
        parameters: {repository: "{{ event.payload.repository.name }}", size: 3}
      - type: event
        name: any-push
        expect: [github.*]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "prefect.yaml"
    path.write_text(PROJECT)
    return path


def push(ref: str) -> object:
    return make_event("github.push", {"ref": ref, "repository": {"id": 7, "name": "shop"}}, source="github")


def test_an_event_starts_what_the_project_says(project: Path) -> None:
    """The triggers that it starts, in the file's order, with parameters, keys and waits."""
    event = push("refs/heads/main")
    first, second = starts(event, project)  # type: ignore[arg-type]

    assert (first.trigger, first.parameters) == ("on-push/push-to-main", {"repository": "shop", "size": 3})
    assert (first.concurrency_key, first.not_before) == ("7", A_MOMENT + timedelta(minutes=10))
    assert (second.trigger, second.parameters) == ("on-push/any-push", {"event": event})


def test_what_does_not_start_says_why(project: Path) -> None:
    """With `filtered`, the triggers that expect the event and leave it."""
    [only] = starts(push("refs/heads/side"), project)  # type: ignore[arg-type]
    assert only.trigger == "on-push/any-push"
    filtered, _ = starts(push("refs/heads/side"), project, filtered=True)  # type: ignore[arg-type]
    assert (filtered.starts, filtered.reason) == (False, "where is false")
    assert starts(make_event("order.paid"), project) == []


def test_a_file_that_cannot_be_deployed_fails_here_too(project: Path) -> None:
    """A mistake in a trigger is found by a test, before anybody deploys it."""
    project.write_text(PROJECT.replace('data.ref == "refs/heads/main"', "nonsense +"))
    with pytest.raises(DeployError, match="push-to-main"):
        starts(make_event("github.push"), project)


async def test_an_inbox_in_memory_is_the_real_one() -> None:
    """Deduplication and all; nothing is left of it."""
    async with memory_inbox() as inbox:
        draft = Draft(
            door="events/local", type="a", source="s", source_id="1", body=b"{}", body_format=BodyFormat.JSON
        )
        first, _ = await inbox.record(draft)
        again, _ = await inbox.record(draft)
        assert again == first._replace(duplicate=True)
    async with memory_inbox() as inbox:
        assert await inbox.event(first.id) is None


def test_parameters_are_what_the_flow_gets(project: Path) -> None:
    """Not the form in which Prefect carries what it would interpret."""
    name = {"$ref": "#/definitions/shop"}
    event = make_event("github.push", {"ref": "refs/heads/main", "repository": {"id": 7, "name": name}})
    assert starts(event, project)[0].parameters == {"repository": name, "size": 3}
