"""The table of the API: everything but the doors, which are faster than a table."""

from __future__ import annotations

from hookline.gateway import descriptions as says
from hookline.gateway import events, health, lineage, rejections
from hookline.gateway.openapi import with_description
from hookline.gateway.operations import Operation, Route

#: What the doors answer, by method and path.
DOORS: tuple[tuple[str, str, Operation], ...] = (
    ("POST", "/events", says.SEND_EVENT),
    ("OPTIONS", "/events", says.ASK_PERMISSION),
    ("POST", "/webhooks/{source}", says.DELIVER),
    ("GET", "/webhooks/{source}", says.SHAKE_HANDS),
    ("OPTIONS", "/webhooks/{source}", says.SHAKE_HANDS),
    ("POST", "/webhooks/{source}/{token}", says.DELIVER),
    ("GET", "/webhooks/{source}/{token}", says.SHAKE_HANDS),
    ("OPTIONS", "/webhooks/{source}/{token}", says.SHAKE_HANDS),
)

_ROUTES = (
    Route("GET", "/events", events.search_events, says.SEARCH_EVENTS),
    Route("GET", "/events/{id}", events.read_event, says.READ_EVENT),
    Route("GET", "/events/{id}/body", events.read_body_of_event, says.READ_BODY),
    Route("GET", "/rejections", rejections.read_rejections, says.READ_REJECTIONS),
    Route("GET", "/lineage/{kind}/{id*}", lineage.read_lineage, says.READ_LINEAGE),
    Route("GET", "/healthz", health.healthz, says.HEALTHZ),
    Route("GET", "/readyz", health.readyz, says.READYZ),
)

#: All of the API, with its own description.
ROUTES = with_description(DOORS, _ROUTES)
