"""A project's `prefect.yaml`: its deployments, and which of their triggers Hookline keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hookline.errors import DeployError
from hookline.faults import Fault, in_order
from hookline.triggers.deployment import Deployment, LeftTrigger, Project
from hookline.triggers.keeping import TemplateNames
from hookline.triggers.reading import Reader
from hookline.triggers.templates import template_names

__all__ = ["Deployment", "LeftTrigger", "Project", "check_project", "read_project"]


def read_project(
    path: Path,
    environment: Mapping[str, str] = os.environ,
    template_names: TemplateNames = template_names,
) -> Project:
    """Read a project file and decide which triggers Hookline keeps.

    Parameters
    ----------
    path: the `prefect.yaml`.
    environment: values of `{{ $NAME }}` placeholders.
    template_names: looks at templates.

    Raises
    ------
    DeployError: the file cannot be used; names every fault with its place.
    """
    reader = Reader(path, environment, template_names)
    project = reader.read()
    if project is None or any(not fault.warning for fault in reader.faults):
        raise DeployError(*in_order(fault for fault in reader.faults if not fault.warning))
    return project


def check_project(path: Path, environment: Mapping[str, str] = os.environ) -> list[Fault]:
    """Return all that is wrong with a project file, as far as that can be told without running its code.

    What is not set in this environment is a warning: the one that deploys is another one.
    """
    reader = Reader(path, environment, template_names, offline=True)
    reader.read()
    return in_order(reader.faults)
