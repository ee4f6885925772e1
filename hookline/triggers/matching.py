"""Which triggers an event starts. Pure: the same event and set always give the same matches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hookline.errors import EvaluationError
from hookline.event import Event
from hookline.triggers.expressions import Form, Scope
from hookline.triggers.shape import includes, prefect_resource, unmet_label
from hookline.triggers.trigger import Trigger


@dataclass(frozen=True, slots=True)
class Match:
    """What one trigger says to one event.

    Parameters
    ----------
    trigger: the trigger, whose `expect` matched.
    matched: the event starts it; otherwise it was filtered out.
    reason: why it was filtered out, for people; None where it matched.
    """

    trigger: Trigger
    matched: bool
    reason: str | None = None


class TriggerSet:
    """One version of all triggers, immutable, indexed by the event types that they expect.

    Parameters
    ----------
    version: the version that the inbox gave it.
    triggers: the triggers, in the order in which matches are returned.
    """

    __slots__ = ("_by_id", "_by_literal", "_by_prefix", "_prefix_lengths", "triggers", "version")

    def __init__(self, version: int, triggers: Iterable[Trigger]) -> None:
        self.version = version
        self.triggers = tuple(triggers)
        self._by_id = {trigger.id: trigger for trigger in self.triggers}
        self._by_literal: dict[str, list[int]] = {}
        self._by_prefix: dict[str, list[int]] = {}
        for position, trigger in enumerate(self.triggers):
            if trigger.enabled:
                for pattern in dict.fromkeys(trigger.expect):
                    if pattern.endswith("*"):
                        self._by_prefix.setdefault(pattern[:-1], []).append(position)
                    else:
                        self._by_literal.setdefault(pattern, []).append(position)
        self._prefix_lengths = sorted({len(prefix) for prefix in self._by_prefix})

    def __len__(self) -> int:
        return len(self.triggers)

    def __iter__(self) -> Iterator[Trigger]:
        return iter(self.triggers)

    @property
    def is_before_first_deploy(self) -> bool:
        """Return whether nothing was ever deployed, so that events wait instead of being ignored."""
        return self.version == 0

    def get(self, trigger_id: str) -> Trigger | None:
        """Return the trigger with that id, or None."""
        return self._by_id.get(trigger_id)

    def expects(self, event_type: str) -> bool:
        """Return whether an enabled trigger expects events of this type, whatever else it asks of them.

        Before the first deploy any type may be expected.
        """
        return self.is_before_first_deploy or bool(self._expecting(event_type))

    def expecting(self, event_type: str) -> list[Trigger]:
        """Return the enabled triggers that expect events of this type, whatever else they ask of them."""
        return [self.triggers[position] for position in self._expecting(event_type)]

    def match(self, event: Event, scope: Scope | None = None) -> list[Match]:
        """Return one match for each enabled trigger that expects the event's type, filtered ones included.

        Parameters
        ----------
        scope: the event's, with answers to what was too costly to evaluate here; see `hookline.evaluator`.

        Raises
        ------
        Costly: a condition may take too long, and its answer is not there.
        """
        expecting = self._expecting(event.type)
        if not expecting:
            return []
        scope = scope or Scope(event)
        return [_judge(self.triggers[position], event, scope) for position in expecting]

    def _expecting(self, event_type: str) -> list[int]:
        found = self._by_literal.get(event_type, _NONE)
        length = len(event_type)
        for prefix_length in self._prefix_lengths:
            # A `*` stands for at least one character, as it does for Prefect.
            if prefix_length >= length:
                break
            also = self._by_prefix.get(event_type[:prefix_length])
            if also:
                found = sorted({*found, *also})
        return found


_NONE: list[int] = []


def _judge(trigger: Trigger, event: Event, scope: Scope) -> Match:
    reason = _unmet(trigger, event) or _false(trigger, scope)
    return Match(trigger, reason is None, reason)


def _unmet(trigger: Trigger, event: Event) -> str | None:
    if trigger.match and (label := unmet_label(trigger.match, prefect_resource(event))) is not None:
        return f"match: label {label} does not fit"
    if not all(includes(wanted, ()) for wanted in trigger.match_related):
        return "match_related: the event has no related resources"
    return None


def _false(trigger: Trigger, scope: Scope) -> str | None:
    if trigger.where is None:
        return None
    try:
        return scope.ask(Form.TRUTH, trigger.where)
    except EvaluationError as wrong:
        return f"where: {wrong}"
