"""The table of the API: everything but the doors, which are faster than a table."""

from __future__ import annotations

from hookline.gateway import descriptions as says
from hookline.gateway import events, health, lineage, metrics, rejections, replays, sources
from hookline.gateway import replay_descriptions as replaying
from hookline.gateway.openapi import with_description
from hookline.gateway.operations import Operation, Route

#: What the doors answer, by method and path.
DOORS: tuple[tuple[str, str, Operation], ...] = (
    ("POST", "/events", says.SEND_EVENT),
    ("OPTIONS", "/events", says.ASK_PERMISSION),
    ("POST", "/webhooks/{source}", says.DELIVER),
    ("GET", "/webhooks/{source}", says.SHAKE_HANDS),
    ("OPTIONS", "/webhooks/{source}", says.ASK_SOURCE),
    ("POST", "/webhooks/{source}/{token}", says.DELIVER),
    ("GET", "/webhooks/{source}/{token}", says.SHAKE_HANDS),
    ("OPTIONS", "/webhooks/{source}/{token}", says.ASK_SOURCE),
)

_ROUTES = (
    Route("GET", "/events", events.search_events, says.SEARCH_EVENTS),
    Route("GET", "/events/{id}", events.read_event, says.READ_EVENT),
    Route("GET", "/events/{id}/body", events.read_body_of_event, says.READ_BODY),
    Route("POST", "/events/{id}/replay", replays.replay_event, replaying.REPLAY_EVENT),
    Route("POST", "/replays", replays.begin_replay, replaying.BEGIN_REPLAY),
    Route("GET", "/replays", replays.list_replays, replaying.LIST_REPLAYS),
    Route("GET", "/replays/{id}", replays.read_replay, replaying.READ_REPLAY),
    Route("POST", "/replays/{id}/cancel", replays.cancel_replay, replaying.CANCEL_REPLAY),
    Route("GET", "/dead", replays.list_dead, replaying.LIST_DEAD),
    Route("POST", "/dead/replay", replays.replay_dead, replaying.REPLAY_DEAD),
    Route("POST", "/dead/{id}/replay", replays.replay_dead_letter, replaying.REPLAY_DEAD_LETTER),
    Route("GET", "/rejections", rejections.read_rejections, says.READ_REJECTIONS),
    Route("GET", "/sources", sources.list_sources, says.LIST_SOURCES),
    Route("POST", "/sources/reload", sources.reload_sources, says.RELOAD_SOURCES),
    Route("GET", "/lineage/{kind}/{id*}", lineage.read_lineage, says.READ_LINEAGE),
    Route("GET", "/metrics", metrics.read_metrics, metrics.READ_METRICS),
    Route("GET", "/healthz", health.healthz, says.HEALTHZ),
    Route("GET", "/readyz", health.readyz, says.READYZ),
)

#: All of the API, with its own description.
ROUTES = with_description(DOORS, _ROUTES)
