"""Metrics as Prometheus reads them: what was counted in this process, and what waits in the inbox."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from hookline.event import Event
from hookline.inbox import Dispatch, Step
from hookline.inbox.gauging import Gauges
from hookline.inbox.records import time_of_id
from hookline.prefect_api import RunInfo

__all__ = ["OPENMETRICS", "PROMETHEUS", "STEPS", "Metrics", "Snapshot"]

#: The forms in which metrics are rendered.
OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST
PROMETHEUS = CONTENT_TYPE_PLAIN_0_0_4

#: The steps of a receipt, each measured from the event's acceptance.
STEPS = ("routed", "run_created", "run_started", "first_task", "finished")
#: From one commit to half an hour; the aim of 150 ms from request to first task is a bound of its own.
BUCKETS_SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is looked up when metrics are asked for.

    Parameters
    ----------
    gauges: what waits in the inbox.
    at: when it was.
    rejections: requests that this process turned away, by reason.
    writes_waiting: writes that wait for the disk.
    to_be_matched: events that wait in memory to be matched.
    follows_prefect: Prefect's event stream is open.
    sources: how many are in force.
    sources_unusable: their file cannot be used.
    sources_read: how often it was read again, by what came of it.
    """

    gauges: Gauges
    at: datetime
    rejections: Mapping[str, int] = field(default_factory=dict)
    writes_waiting: int = 0
    to_be_matched: int = 0
    follows_prefect: bool = False
    sources: int = 0
    sources_unusable: bool = False
    sources_read: Mapping[str, int] = field(default_factory=dict)


class Metrics:
    """Counts what happens in this process, and renders it together with a snapshot."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._receipts = Histogram(
            "hookline_receipt_seconds",
            "Time from an event's acceptance to a step of its receipt.",
            ["step"],
            registry=self._registry,
            buckets=BUCKETS_SECONDS,
        )
        self._runs = Counter(
            "hookline_runs_finished",
            "Runs started by events that were seen to finish, by Prefect's state type.",
            ["state"],
            registry=self._registry,
        )
        for step in STEPS:
            self._receipts.labels(step)
        self._snapshot = _SnapshotCollector()
        self._registry.register(self._snapshot)

    def routed(self, events: Iterable[Event], at: datetime) -> None:
        """Count that events were routed."""
        for event in events:
            self._observe("routed", at - event.accepted)

    def run_created(self, dispatch: Dispatch, event: Event, run: RunInfo) -> None:
        """Count that a run was created; replays are not measured from an event of long ago."""
        if dispatch.replay == 0:
            self._observe("run_created", run.created - event.accepted)

    def observe(self, steps: Iterable[Step]) -> None:
        """Count steps of runs that have become known."""
        for step in steps:
            if step.name == "finished":
                self._runs.labels(step.state or "unknown").inc()
            if not step.is_replay:
                self._observe(step.name, step.at - time_of_id(step.event_id))

    def render(self, snapshot: Snapshot, form: str = PROMETHEUS) -> bytes:
        """Return everything as text.

        Parameters
        ----------
        form: `OPENMETRICS` or `PROMETHEUS`.
        """
        self._snapshot.snapshot = snapshot
        if form == OPENMETRICS:
            return bytes(openmetrics.generate_latest(self._registry))  # type: ignore[no-untyped-call] # theirs
        return generate_latest(self._registry)

    def _observe(self, step: str, took: timedelta) -> None:
        # Prefect's clock may be behind ours.
        self._receipts.labels(step).observe(max(took.total_seconds(), 0.0))


class _SnapshotCollector:
    """Gives Prometheus's registry what was looked up last."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield the snapshot as metrics."""
        if self.snapshot is not None:
            yield from _totals(self.snapshot)
            yield from _waiting(self.snapshot)


def _totals(snapshot: Snapshot) -> Iterator[Metric]:
    totals = snapshot.gauges.totals
    yield CounterMetricFamily(
        "hookline_events_accepted", "Events that were accepted.", value=totals.get("received", 0)
    )
    yield CounterMetricFamily(
        "hookline_events_duplicates",
        "Deliveries of an event that had been accepted before.",
        value=totals.get("duplicates", 0),
    )
    rejections = CounterMetricFamily(
        "hookline_rejections", "Requests that this gateway turned away, by reason.", labels=["reason"]
    )
    for reason, count in sorted(snapshot.rejections.items()):
        rejections.add_metric([reason], count)
    yield rejections
    read = CounterMetricFamily(
        "hookline_sources_read",
        "Times that the sources' file was read again, by what came of it.",
        labels=["outcome"],
    )
    for outcome in ("changed", "failed"):
        read.add_metric([outcome], snapshot.sources_read.get(outcome, 0))
    yield read
    mirror = CounterMetricFamily(
        "hookline_mirror_events",
        "Dispatched events that were mirrored in Prefect's feed, or left out of it.",
        labels=["outcome"],
    )
    mirror.add_metric(["mirrored"], totals.get("mirrored", 0))
    mirror.add_metric(["left_out"], totals.get("mirror_left_out", 0))
    yield mirror
    pruned = CounterMetricFamily(
        "hookline_events_pruned", "Events that retention has forgotten, by status.", labels=["status"]
    )
    for status in ("dispatched", "ignored"):
        pruned.add_metric([status], totals.get(f"pruned.{status}", 0))
    yield pruned


def _waiting(snapshot: Snapshot) -> Iterator[Metric]:
    gauges = snapshot.gauges
    yield GaugeMetricFamily(
        "hookline_events_unrouted", "Accepted events that were not matched yet.", value=gauges.unrouted
    )
    dispatches = GaugeMetricFamily(
        "hookline_dispatches", "Dispatches that wait, run or gave up.", labels=["status"]
    )
    for status in ("pending", "held", "running", "dead"):
        dispatches.add_metric([status], getattr(gauges, status))
    yield dispatches
    lag = GaugeMetricFamily(
        "hookline_dispatch_lag_seconds",
        "How long the one that waits longest has waited, to be matched or for its run.",
        labels=["for"],
    )
    for name, since in (("match", gauges.oldest_unrouted), ("run", gauges.oldest_pending)):
        waited = timedelta(0) if since is None else snapshot.at - since
        lag.add_metric([name], max(waited.total_seconds(), 0.0))
    yield lag
    for name, text, value in (
        ("hookline_mirror_waiting", "Events that wait for the mirror.", gauges.mirror),
        ("hookline_inbox_bytes", "Room that the inbox's data takes.", gauges.size_bytes),
        ("hookline_inbox_writes_waiting", "Writes that wait for the disk.", snapshot.writes_waiting),
        (
            "hookline_events_in_memory",
            "Events that wait in this gateway's memory to be matched.",
            snapshot.to_be_matched,
        ),
        ("hookline_sources", "Sources that are in force.", snapshot.sources),
        (
            "hookline_sources_unusable",
            "Whether the sources' file cannot be used, so that those of before are in force.",
            int(snapshot.sources_unusable),
        ),
        (
            "hookline_prefect_stream_open",
            "Whether news of runs comes by Prefect's event stream; else Prefect is asked.",
            int(snapshot.follows_prefect),
        ),
    ):
        yield GaugeMetricFamily(name, text, value=value)
