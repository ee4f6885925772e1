"""Chooses how children are made: forked, spawned, or not at all."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

import prefect

from hookline.worker.fallback import Interpreters
from hookline.worker.nursery import Nursery, Project
from hookline.worker.spawning import SpawnedNursery

logger = logging.getLogger("prefect.hookline.worker")

#: The version of Prefect whose engine `engine.py` was tested with, and reaches into.
TESTED_VERSION = "3.8.8"

AnyNursery = Nursery | SpawnedNursery | Interpreters


def choose_nursery(
    project: Project,
    idle: int,
    environment: Mapping[str, str],
    version: str = prefect.__version__,
    platform: str = sys.platform,
) -> AnyNursery:
    """Return what makes children here.

    Parameters
    ----------
    project: what they import ahead of need.
    idle: how many wait ahead of need.
    environment: their environment.
    version: the version of Prefect that is installed.
    platform: as `sys.platform` has it.
    """
    if version != TESTED_VERSION:
        logger.warning(
            "Prefect %s is not the version that warm processes were tested with (%s): each flow run starts "
            "an interpreter of its own. Install prefect==%s to have them warm.",
            version, TESTED_VERSION, TESTED_VERSION,
        )  # fmt: skip
        return Interpreters()
    if platform == "win32":
        return Interpreters()
    return (
        Nursery(project, idle, environment)
        if platform == "linux"
        else SpawnedNursery(project, idle, environment)
    )
