"""The waterfall of an event: from accepted to finished, one row a step, to one scale. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hookline.gateway.pages.text import took
from hookline.inbox import ACTIVE, Dispatch, DispatchStatus, Tracked
from hookline.inbox.browsing import Work

#: A bar that would be narrower could not be seen, in per cent of the width.
NARROWEST = 0.4


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of time.

    Parameters
    ----------
    phase: what happened in it; a class of the stylesheet.
    x, width: in per cent of the whole.
    says: what it stands for, with its duration.
    """

    phase: str
    x: float
    width: float
    says: str


@dataclass(frozen=True, slots=True)
class Step:
    """One row.

    Parameters
    ----------
    name: what happened.
    began, ended: when; without an end it is still under way.
    length: how long it took, so far.
    bars: its stretches.
    dispatch: the dispatch that it belongs to.
    nested: it is a part of the row above.
    """

    name: str
    began: datetime
    ended: datetime | None
    length: timedelta
    bars: tuple[Bar, ...]
    dispatch: Dispatch | None = None
    nested: bool = False


@dataclass(frozen=True, slots=True)
class Waterfall:
    """All rows and the span that they share.

    Parameters
    ----------
    replay: the replay number of its dispatches; 0 is the original.
    began: the accepted time, or that of the replay.
    steps: the rows, in order of time.
    length: from its beginning to the end of its last run, or to now.
    under_way: something is still going on.
    """

    replay: int
    began: datetime
    steps: tuple[Step, ...]
    length: timedelta
    under_way: bool


def waterfalls(tracked: Tracked, now: datetime, works: Sequence[Work] = ()) -> list[Waterfall]:
    """Return an event's waterfalls: the original, then one for each replay, to a scale of its own.

    Parameters
    ----------
    tracked: the event and all that became of it.
    now: where what is under way ends for the moment.
    works: task runs of its flow runs.
    """
    event = tracked.event
    made: dict[int, list[Dispatch]] = {0: []}
    for dispatch in tracked.dispatches:
        if dispatch.status not in (DispatchStatus.FILTERED, DispatchStatus.MERGED):
            made.setdefault(dispatch.replay, []).append(dispatch)
    matching = ("route", event.accepted, event.routed)
    return [
        _waterfall(replay, dispatches, works, now, matching if replay == 0 else None)
        for replay, dispatches in sorted(made.items())
    ]


_Phase = tuple[str, datetime, datetime | None]


def _waterfall(
    replay: int, made: Sequence[Dispatch], works: Sequence[Work], now: datetime, matching: _Phase | None
) -> Waterfall:
    phases = {dispatch.id: _phases(dispatch) for dispatch in made}
    inside = {
        dispatch.id: [work for work in works if work.flow_run_id == dispatch.flow_run_id] for dispatch in made
    }
    stretches = [matching] if matching is not None else []
    stretches += [phase for each in phases.values() for phase in each]
    stretches += [("task", work.began, work.ended) for each in inside.values() for work in each]
    began = min(start for _, start, _ in stretches)
    scale = _Scale(began, max(end or now for _, _, end in stretches), now)
    steps = [scale.step("Matched with triggers", [matching])] if matching is not None else []
    for dispatch in made:
        steps.append(scale.step(dispatch.trigger_id, phases[dispatch.id], dispatch))
        steps += [
            scale.step(work.name, [("task", work.began, work.ended)], dispatch, nested=True)
            for work in inside[dispatch.id]
        ]
    under_way = any(end is None for _, _, end in stretches)
    return Waterfall(replay, began, tuple(steps), scale.length, under_way)


_NAMES = {
    "route": "matched with triggers",
    "wait": "waited to be started",
    "schedule": "scheduled in Prefect",
    "start": "started, before its first task",
    "run": "ran",
    "task": "task",
}


class _Scale:
    """Places times on the width of the picture."""

    def __init__(self, first: datetime, last: datetime, now: datetime) -> None:
        self._first = first
        self._now = now
        self.length = max(last - first, timedelta(microseconds=1))

    def step(
        self, name: str, phases: Sequence[_Phase], dispatch: Dispatch | None = None, *, nested: bool = False
    ) -> Step:
        began, ended = phases[0][1], phases[-1][2]
        bars = tuple(self._bar(phase, start, end or self._now) for phase, start, end in phases)
        length = max((ended or self._now) - began, timedelta(0))
        return Step(name, began, ended, length, bars, dispatch, nested)

    def _bar(self, phase: str, start: datetime, end: datetime) -> Bar:
        x = min(max((start - self._first) / self.length * 100, 0.0), 100.0)
        width = min(max((end - start) / self.length * 100, NARROWEST), max(100.0 - x, NARROWEST))
        says = f"{_NAMES[phase]}: {took(max(end - start, timedelta(0)))}"
        # One that begins at the very end is still seen.
        return Bar(phase, round(min(x, 100.0 - width), 3), round(width, 3), says)


def _phases(dispatch: Dispatch) -> list[_Phase]:
    """Return a dispatch's stretches, each beginning where the one before ends."""
    marks = [
        ("wait", dispatch.created),
        ("schedule", dispatch.run_created),
        ("start", dispatch.run_started),
        ("run", dispatch.first_task),
    ]
    known = [(phase, moment) for phase, moment in marks if moment is not None]
    if dispatch.run_started is not None and dispatch.first_task is None and dispatch.finished is not None:
        # A run without tasks: all of it was its own code.
        known[-1] = ("run", dispatch.run_started)
    # Clocks of several machines: no stretch ends before it begins.
    moments = [moment for _, moment in known]
    moments = [max(moments[: index + 1]) for index in range(len(moments))]
    end = dispatch.finished
    if end is None and not _is_under_way(dispatch):
        end = moments[-1]
    ends: list[datetime | None] = [*moments[1:], None if end is None else max(end, moments[-1])]
    return [(phase, moment, stop) for (phase, _), moment, stop in zip(known, moments, ends, strict=True)]


def _is_under_way(dispatch: Dispatch) -> bool:
    if dispatch.status in ACTIVE:
        return True
    return dispatch.status is DispatchStatus.STARTED and dispatch.finished is None
