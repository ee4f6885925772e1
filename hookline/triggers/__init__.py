"""Triggers: the rules of `prefect.yaml` that say which events start a deployment."""

from hookline.triggers.expressions import Costly, Scope, delay_until, evaluate_key, evaluate_time
from hookline.triggers.matching import Match, TriggerSet
from hookline.triggers.shape import prefect_resource
from hookline.triggers.trigger import Concurrency, Debounce, Delay, Trigger

__all__ = [
    "Concurrency",
    "Costly",
    "Debounce",
    "Delay",
    "Match",
    "Scope",
    "Trigger",
    "TriggerSet",
    "delay_until",
    "evaluate_key",
    "evaluate_time",
    "prefect_resource",
]
