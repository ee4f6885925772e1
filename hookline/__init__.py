"""Hookline: the event front door for self-hosted Prefect."""

from hookline.claims import load_data
from hookline.errors import ClaimError, HooklineError, SendError, SendRefused
from hookline.event import Cause, Event
from hookline.opening import open_in_flows
from hookline.sealed import opened, seal
from hookline.sending import asend, send

# The event does no I/O itself; whoever imports the package gets claim checks that load.
Event.load_claim = staticmethod(load_data)
# What a sender wrote reaches a flow as it is, wherever the flow runs.
open_in_flows()

__all__ = [
    "Cause",
    "ClaimError",
    "Event",
    "HooklineError",
    "SendError",
    "SendRefused",
    "asend",
    "opened",
    "seal",
    "send",
]
