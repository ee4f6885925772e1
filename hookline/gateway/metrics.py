"""`/metrics`: what Prometheus scrapes."""

from __future__ import annotations

from hookline.event import now
from hookline.gateway import access
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.operations import Answered, Operation
from hookline.gateway.schemas import TEXT
from hookline.inbox.gauging import gauges
from hookline.metrics import CONTENT_TYPE_LATEST, Snapshot
from hookline.sources import Reply

READ_METRICS = Operation(
    name="readMetrics",
    summary="Scrape the metrics.",
    tag="Service",
    says="Prometheus's text format. Totals are the inbox's; histograms and rejections are this gateway's.",
    scope=access.Scope.READ,
    answers={200: Answered("The metrics.", TEXT, "text/plain")},
)


async def read_metrics(house: House, exchange: Exchange) -> Reply:
    """Answer `GET /metrics`."""
    exchange.caller(house).require(access.Scope.READ)
    snapshot = Snapshot(
        gauges=await house.inbox.read(gauges),
        at=now(),
        rejections=dict(house.rejections.counts),
        writes_waiting=house.inbox.writes_waiting,
        to_be_matched=house.dispatcher.waiting_to_be_matched,
        follows_prefect=house.follower.is_connected,
    )
    body = house.dispatcher.metrics.render(snapshot)
    return Reply(200, (("content-type", CONTENT_TYPE_LATEST),), body)
