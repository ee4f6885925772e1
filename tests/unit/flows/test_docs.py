"""`docs/flows.md` holds what it says: its examples work, and it tells of every setting."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from prefect.flows import Flow
from prefect.tasks import Task

from hookline.triggers.keeping import keep
from hookline.triggers.trigger import Trigger
from tasks.settings import TaskSettings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "flows.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", blocks("python"), ids=range(len(blocks("python"))))
def test_each_python_example_runs(example: str) -> None:
    names: dict[str, object] = {}
    exec(compile(example, "docs/flows.md", "exec"), names)  # noqa: S102 (our own page)
    for name, made in names.items():
        assert not isinstance(made, (Flow, Task)) or name == made.fn.__name__


def test_each_trigger_is_one_that_hookline_keeps() -> None:
    triggers = [
        trigger
        for example in blocks("yaml")
        for document in [yaml.safe_load(example)]
        for deployment in (document if isinstance(document, list) else [document])
        for trigger in deployment["triggers"]
    ]
    assert len(triggers) == 2
    for trigger in triggers:
        assert isinstance(keep(trigger, deployment="on-order-paid"), Trigger)


def test_every_setting_is_told_of() -> None:
    told = set(re.findall(r"^\| `(TASKS_\w+)`", PAGE, re.MULTILINE))
    assert told == {f"TASKS_{name.upper()}" for name in TaskSettings.model_fields}
