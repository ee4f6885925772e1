"""Captured deliveries: where the signature leaves the id out, the body tells that it is the same one."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hookline.errors import Refusal, SourcesError
from hookline.sources import builtin, recipe_names
from hookline.sources.replays import SHORT_WINDOW, default_window
from tests.unit.sources.cases import CASES, SECRET, WHSEC, Case, hexed
from tests.unit.sources.support import draft, drafts, knock, source_of

MONTH = timedelta(days=30)
WINDOWS = {
    "bitbucket-server": MONTH, "gitea": MONTH, "github": MONTH, "gogs": MONTH, "jira": MONTH,
    "sentry": MONTH, "shopify": MONTH,
    "bitbucket": SHORT_WINDOW, "convoy": SHORT_WINDOW, "hmac": SHORT_WINDOW, "twilio": SHORT_WINDOW,
    "linear": timedelta(minutes=2),
}  # fmt: skip
#: The headers of which a recipe takes the id.
ID_HEADERS = {"x-request-id", "x-convoy-idempotency-key"}


@pytest.mark.parametrize("name", recipe_names())
def test_each_recipe_has_the_window_that_is_documented(name: str) -> None:
    """Exactly those whose signature does not cover the id have one."""
    recipe = builtin(name)
    assert default_window(recipe, recipe.id) == WINDOWS.get(name)
    text = (Path(__file__).parents[3] / "docs" / "sources.md").read_text()
    section = text.split("## Duplicates")[1].split("##")[0]
    documented = set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))))
    assert documented == set(WINDOWS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name or case.recipe)
def test_no_captured_delivery_is_a_new_event_under_another_id(case: Case) -> None:
    """Headers that no signature covers are changed: either the id stays, or the body counts.

    Deliveries without any id are what `dedup` is for; where nothing is signed, nobody needs to capture.
    """
    source = case.source()
    signed = case.sign(case.raw)
    (first,) = drafts(source, knock(case.raw, {**case.headers, **signed}))
    if first.source_id is None or first.verdict.startswith(("token", "basic")):
        return
    names = [name for name in (*case.headers, *signed, *ID_HEADERS) if "id" in name.lower().split("-")]
    changed = {**case.headers, **signed, **dict.fromkeys((*names, *ID_HEADERS), "another")}
    changed |= {
        name: "another" for name in changed if re.search("delivery|uuid|identifier|idemp", name, re.I)
    }
    try:
        (again,) = drafts(source, knock(case.raw, changed))
    except Refusal:
        return  # the id is signed
    assert again.source_id == first.source_id or again.dedup_window is not None
    assert again.body == first.body


@pytest.mark.parametrize(
    ("recipe", "window"),
    [
        ({"id": "{header.X-Id}"}, SHORT_WINDOW),
        ({"id": "{data.id|header.X-Id}"}, SHORT_WINDOW),
        ({"id": "{query.id}"}, SHORT_WINDOW),
        ({"id": "{query.id}", "sign": "{url}{body}"}, None),
        ({"id": "{data.id}"}, None),
        ({"id": "{data.id}", "sign": "{url}"}, SHORT_WINDOW),
        ({"id": "{data.id|'none'}"}, None),
        ({"id": "{header.X-Id}", "sign": "{id}.{body}"}, None),
        ({"id": "{header.X-Id}", "sign": "{header.x-id}.{body}"}, None),
        ({"id": "{header.X-Id}", "dedup": "7d"}, timedelta(days=7)),
        ({"cloudevents": True}, SHORT_WINDOW),
        ({}, None),
    ],
)
def test_a_recipe_written_out_is_judged_by_the_same_rule(
    recipe: dict[str, Any], window: timedelta | None
) -> None:
    """By what its signature covers."""
    base = {"algorithm": "hmac-sha256", "signature": {"header": "X-Sig"}, "type": "made.thing"}
    assert source_of({**base, **recipe}, SECRET).dedup_window == window


def test_a_timestamp_ends_the_window() -> None:
    """An old signature is refused, so that the body need not be remembered for longer."""
    recipe = {
        "algorithm": "hmac-sha256", "signature": {"header": "X-Sig"}, "sign": "{ts}.{body}",
        "timestamp": {"place": "header.X-Time", "past": "1m", "future": "30s"}, "id": "{header.X-Id}",
        "type": "made.thing",
    }  # fmt: skip
    assert source_of(recipe, SECRET).dedup_window == timedelta(seconds=90)


def test_a_source_has_the_last_word() -> None:
    """It sets the window, switches it off, or switches it on where it is off."""
    assert source_of("github", SECRET, dedup={"window": "1h"}).dedup_window == timedelta(hours=1)
    assert source_of("github", SECRET, dedup={"body": True}).dedup_window == MONTH
    assert source_of("github", SECRET, dedup={"body": False}).dedup_window is None
    assert source_of("standard-webhooks", WHSEC, dedup={"body": True}).dedup_window == SHORT_WINDOW
    assert source_of("github", SECRET, source_id="{data.id}").dedup_window is None
    assert source_of("standard-webhooks", WHSEC, source_id="{header.x-id}").dedup_window == SHORT_WINDOW
    for wrong in ({"body": False, "window": "1h"}, {"window": "0s"}, {"body": "yes please"}):
        with pytest.raises(SourcesError, match="dedup"):
            source_of("github", SECRET, dedup=wrong)


def test_the_content_type_does_not_hide_an_id() -> None:
    """No signature covers it: JSON that is sent again as a form is still JSON, with its id."""
    body = b'{"event": {"id": "e1", "event_type": "incident.triggered"}}'
    source = source_of("pagerduty", SECRET)
    signed = {"X-PagerDuty-Signature": "v1=" + hexed("x")(body)["x"]}
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", "image/png"):
        found = draft(source, knock(body, {**signed, "Content-Type": kind}))
        assert (found.type, found.source_id) == ("pagerduty.incident.triggered", "e1")
