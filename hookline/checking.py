"""`hookline check`: all that is wrong with a project's files, found offline and without running its code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hookline.faults import Fault
from hookline.setting_faults import ENVIRONMENT
from hookline.settings import Settings, read_settings
from hookline.sources.load import check_sources
from hookline.triggers.project import check_project


def check_folder(project: Path, environ: Mapping[str, str]) -> list[Fault]:
    """Return what is wrong with a project file, its sources and the settings of its folder.

    Parameters
    ----------
    project: the `prefect.yaml`.
    environ: the environment that they name variables of.
    """
    settings, faults = read_settings(project.parent)
    usual = Settings.model_fields["sources"].default
    sources = project.parent / (settings.sources if settings else usual)
    if sources != project.parent / usual and not sources.exists():
        faults.append(Fault(ENVIRONMENT, None, f"HOOKLINE_SOURCES: there is no file {sources}"))
    return [*check_files(project, sources, environ), *map(_shown, faults)]


def check_files(project: Path, sources: Path, environ: Mapping[str, str]) -> list[Fault]:
    """Return what is wrong with a project file and the file of its sources, each in its order."""
    return list(map(_shown, (*check_project(project, environ), *check_sources(sources, environ))))


def _shown(fault: Fault) -> Fault:
    """Name the file as one who stands in the working directory does."""
    relative = os.path.relpath(fault.file)
    return fault if relative.startswith("..") else replace(fault, file=relative)
