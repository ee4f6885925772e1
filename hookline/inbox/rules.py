"""What an audit found broken: rules, each with the rows that break it."""

from __future__ import annotations

from dataclasses import dataclass

#: Rows named for each fault; a broken inbox would fill the screen.
NAMED = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows that break a rule.

    Parameters
    ----------
    rule: what should hold.
    ids: the rows, `NAMED` at most.
    count: how many there are.
    """

    rule: str
    ids: tuple[str, ...] = ()
    count: int = 0


class Faults:
    """Faults as they are found."""

    def __init__(self) -> None:
        self._ids: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, rule: str, *ids: str) -> None:
        """Note that a rule does not hold, for a row or as a whole."""
        named = self._ids.setdefault(rule, [])
        named += ids[: NAMED - len(named)]
        self._counts[rule] = self._counts.get(rule, 0) + len(ids)

    def found(self) -> tuple[Fault, ...]:
        """Return them, in order of finding."""
        return tuple(Fault(rule, tuple(ids), self._counts[rule]) for rule, ids in self._ids.items())
