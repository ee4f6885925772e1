"""`/metrics`: what Prometheus scrapes."""

from __future__ import annotations

from hookline.event import now
from hookline.gateway import access
from hookline.gateway.exchange import Exchange
from hookline.gateway.house import House
from hookline.gateway.negotiating import names, read_accept, weight_of
from hookline.gateway.operations import Answered, Operation
from hookline.gateway.schemas import TEXT
from hookline.inbox.gauging import gauges
from hookline.metrics import OPENMETRICS, PROMETHEUS, Snapshot
from hookline.sources import Reply

READ_METRICS = Operation(
    name="readMetrics",
    summary="Scrape the metrics.",
    tag="Service",
    says=(
        "OpenMetrics 1.0.0 for whoever accepts it (`Accept`, with weights), else Prometheus's text 0.0.4."
        " Totals are the inbox's; histograms and rejections are this gateway's."
    ),
    scope=access.Scope.READ,
    answers={200: Answered("The metrics.", TEXT, "text/plain", also=("application/openmetrics-text",))},
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
        sources=len(house.sources),
        sources_unusable=house.registry.fault is not None,
        sources_read=dict(house.registry.counts),
    )
    form = form_for(exchange.headers.get("accept"))
    body = house.dispatcher.metrics.render(snapshot, form)
    return Reply(200, (("content-type", form), ("vary", "accept")), body)


def form_for(accept: str | None) -> str:
    """Return the form that is wanted; to whoever wants neither, the one that everybody reads."""
    accepted = read_accept(accept)
    wanted = weight_of(accepted, "application/openmetrics-text", "1.0.0")
    plain = weight_of(accepted, "text/plain", "0.0.4")
    if wanted > plain or (wanted == plain > 0 and names(accepted, "application/openmetrics-text")):
        return OPENMETRICS
    return PROMETHEUS
