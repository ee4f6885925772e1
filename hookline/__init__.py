"""Hookline: the event front door for self-hosted Prefect."""

from hookline.errors import HooklineError, SendError
from hookline.event import Cause, Event
from hookline.sending import send

__all__ = ["Cause", "Event", "HooklineError", "SendError", "send"]
