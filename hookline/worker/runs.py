"""A flow run in the worker's hands, and what its process says of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hookline.worker.frames import Frame

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from hookline.worker.children import Child
    from hookline.worker.configuration import WarmConfiguration
    from hookline.worker.fallback import EngineChild


class Run:
    """One flow run from its claim to its end.

    Parameters
    ----------
    flow_run: as it was when it was claimed.
    """

    def __init__(self, flow_run: FlowRun) -> None:
        self.flow_run = flow_run
        self.configuration: WarmConfiguration | None = None
        self.child: Child | EngineChild | None = None
        #: The engine has reported a state that ends this attempt; how the process leaves then means nothing.
        self.concluded = False
        #: The worker is stopping the process on purpose and says itself what becomes of the run.
        self.stopping: str | None = None
        #: Whether the child has taken note of why it will be stopped.
        self.intent_noted: asyncio.Future[bool] | None = None
        #: What the engine has left to the worker to write: the flow's version and retry policy.
        self.description: dict[str, Any] | None = None
        self.registered = False

    @property
    def pid(self) -> int:
        """The process id of the child."""
        if self.child is None:
            raise RuntimeError(f"Flow run {self.flow_run.id} has no process yet.")
        return self.child.pid.result()

    def note_intent(self, frame: Frame) -> None:
        """Note the child's answer to an `intend` frame."""
        if self.intent_noted is not None and not self.intent_noted.done():
            self.intent_noted.set_result(bool(frame["committed"]))
