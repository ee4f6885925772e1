"""The table of the API: everything but the doors, which are faster than a table."""

from __future__ import annotations

from hookline.gateway import events, health, lineage
from hookline.gateway.operations import Route

ROUTES: tuple[Route, ...] = (
    Route("GET", "/events", events.search_events),
    Route("GET", "/events/{id}", events.read_event),
    Route("GET", "/events/{id}/body", events.read_body_of_event),
    Route("GET", "/rejections", events.read_rejections),
    Route("GET", "/lineage/{kind}/{id*}", lineage.read_lineage),
    Route("GET", "/healthz", health.healthz),
    Route("GET", "/readyz", health.readyz),
)
