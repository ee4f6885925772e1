"""Triggers: the rules of `prefect.yaml` that say which events start a deployment."""

from hookline.triggers.expressions import delay_until, evaluate_key, evaluate_time
from hookline.triggers.matching import Match, TriggerSet
from hookline.triggers.shape import prefect_resource
from hookline.triggers.trigger import Concurrency, Debounce, Delay, Trigger

__all__ = [
    "Concurrency",
    "Debounce",
    "Delay",
    "Match",
    "Trigger",
    "TriggerSet",
    "delay_until",
    "evaluate_key",
    "evaluate_time",
    "prefect_resource",
]
