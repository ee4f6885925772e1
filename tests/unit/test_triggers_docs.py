"""docs/triggers.md holds: its examples work, and it names every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hookline.triggers import Trigger
from hookline.triggers.expressions import VARIABLES, check_expression
from hookline.triggers.grammar import OUR_KEYS
from hookline.triggers.keeping import keep
from hookline.triggers.project import read_project
from hookline.triggers.rendering import template_names

TEXT = (Path(__file__).parents[2] / "docs" / "triggers.md").read_text()
PROJECTS = re.findall(r"```yaml\n(deployments:.*?)```", TEXT, re.DOTALL)
#: First cells of a table, as they are without the escapes that a table needs.
CELLS = [cell.replace("\\|", "|") for cell in re.findall(r"^\| `(.+?)` \|(?!\|)", TEXT, re.MULTILINE)]
CONDITIONS = [cell for cell in CELLS if re.search(r"==|!=|>| in |\.\w+\(", cell) and "{{" not in cell]
TEMPLATES = [cell.strip('"') for cell in CELLS if "{{" in cell]


@pytest.mark.parametrize("project", PROJECTS)
def test_its_projects_are_kept_whole(project: str, tmp_path: Path) -> None:
    """Every trigger in it is one that Hookline keeps, but for the one on Prefect's own events."""
    path = tmp_path / "prefect.yaml"
    path.write_text(project)
    read = read_project(path, {})
    assert [left.name for left in read.left] == (["a-flow-failed"] if "prefect.flow-run" in project else [])
    assert bool(read.kept) is not bool(read.left)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_its_conditions_are_cel(condition: str) -> None:
    """As they stand in the table."""
    check_expression(condition)


@pytest.mark.parametrize("template", TEMPLATES)
def test_its_templates_use_the_event_alone(template: str) -> None:
    """As Hookline requires."""
    assert template_names({"p": template}) == {"event"}


def test_it_names_every_key_and_every_variable() -> None:
    """Nothing can be written that it does not speak of."""
    assert (len(PROJECTS), len(CONDITIONS), len(TEMPLATES)) == (3, 10, 5)
    keys = {"name", "enabled", "expect", "match", "match_related", "for_each", "parameters", "job_variables",
            "schedule_after", "may_start_itself", *OUR_KEYS}  # fmt: skip
    for word in (*keys, *VARIABLES, "quiet", "max_wait", "limit", "until", "duration", "key"):
        assert re.search(rf"`[^`\n]*\b{word}\b[^`\n]*`", TEXT), word


def test_the_first_example_reads_as_it_says() -> None:
    """The trigger that most people will copy."""
    raw = {
        "type": "event",
        "name": "push-to-main",
        "expect": ["github.push"],
        "where": 'data.ref == "refs/heads/main"',
    }
    assert isinstance(keep(raw, "on-push"), Trigger)
