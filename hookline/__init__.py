"""Hookline: the event front door for self-hosted Prefect."""

from hookline.claims import load_data
from hookline.errors import ClaimError, HooklineError, SendError, SendRefused
from hookline.event import Cause, Event
from hookline.sending import asend, send

# The event does no I/O itself; whoever imports the package gets claim checks that load.
Event.load_claim = staticmethod(load_data)

__all__ = ["Cause", "ClaimError", "Event", "HooklineError", "SendError", "SendRefused", "asend", "send"]
