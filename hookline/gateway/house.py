"""Everything that the gateway's requests share: opened once, handed to each."""

from __future__ import annotations

from dataclasses import dataclass

from hookline.changes import Changes
from hookline.dispatch import Dispatcher
from hookline.following import Follower
from hookline.gateway.access import Access
from hookline.gateway.rejecting import RejectionLog
from hookline.inbox import Inbox
from hookline.prefect_api import PrefectApi
from hookline.settings import Settings
from hookline.sources import Registry, Sources


@dataclass(frozen=True, slots=True)
class House:
    """The parts behind the door.

    Parameters
    ----------
    settings: the gateway's settings.
    inbox: the durable store.
    prefect: the Prefect server.
    registry: the configured sources, which may change while the gateway runs.
    access: who may do what with which key.
    dispatcher: takes committed events.
    follower: follows started runs.
    changes: news of events, for those who wait.
    rejections: what was turned away.
    claim_secret: signs the tokens of claim checks.
    instance: tells this system from others on the machine; see `hookline.cli.system`.
    """

    settings: Settings
    inbox: Inbox
    prefect: PrefectApi
    registry: Registry
    access: Access
    dispatcher: Dispatcher
    follower: Follower
    changes: Changes
    rejections: RejectionLog
    claim_secret: bytes
    instance: str = ""

    @property
    def sources(self) -> Sources:
        """Return the sources in force; whoever asks twice may be given two sets."""
        return self.registry.sources
