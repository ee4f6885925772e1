"""What would become of a dispatch now, as far as that can be known without starting it."""

from __future__ import annotations

import asyncio

from hookline.errors import PrefectRefused, PrefectUnavailable, RenderError
from hookline.event import Event
from hookline.parameter_rendering import render_now
from hookline.parameter_schema import check_parameters
from hookline.prefect_api import DeploymentInfo, PrefectApi
from hookline.triggers import Trigger


class Foresight:
    """Tells which dispatches would die at once. Asks for each deployment once: for one look, not for longer.

    Parameters
    ----------
    prefect: has the deployments, with the schemas of their parameters.
    """

    def __init__(self, prefect: PrefectApi) -> None:
        self._prefect = prefect
        self._deployments: dict[str, DeploymentInfo | str | None] = {}

    async def death(self, trigger: Trigger, event: Event) -> str | None:
        """Return why the run of a trigger could not be started; None where nothing speaks against it."""
        lane = f"{trigger.flow}/{trigger.deployment}"
        if lane not in self._deployments:
            self._deployments[lane] = await self._look_up(lane)
        deployment = self._deployments[lane]
        if isinstance(deployment, str):
            return deployment
        # A template and a schema take their time: not on the loop of the doors.
        return await asyncio.to_thread(_fault, trigger, event, deployment)

    async def _look_up(self, lane: str) -> DeploymentInfo | str | None:
        """Return a deployment, why there is none, or None where Prefect cannot be asked."""
        try:
            return await self._prefect.deployment(lane)
        except PrefectRefused as refused:
            return str(refused)
        except PrefectUnavailable:
            return None


def _fault(trigger: Trigger, event: Event, deployment: DeploymentInfo | None) -> str | None:
    try:
        parameters = render_now(trigger, event)
        if deployment is not None:
            check_parameters(parameters, deployment)
    except RenderError as wrong:
        return str(wrong)
    return None
