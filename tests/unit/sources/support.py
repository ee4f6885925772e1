"""What the tests of sources share: a source through the real loader, a knock, and the official vectors."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from hookline.event import Draft
from hookline.sources import Handshake, Headers, Knock, Source, Sources, load_sources
from hookline.sources.fetch import Fetch, Fetched

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "signatures.json").read_text())
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


async def fetch_nothing(url: str) -> Fetched:
    """Fail a test that fetches although it should not."""
    raise AssertionError(f"{url} was fetched")


def load(text: str, environ: Mapping[str, str] | None = None, fetch: Fetch = fetch_nothing) -> Sources:
    """Load a `sources.yaml` of that text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sources.yaml"
        path.write_text(text)
        return load_sources(path, environ or {}, fetch)


def source_of(
    recipe: str | dict[str, Any], *secrets: str, name: str = "door", fetch: Fetch = fetch_nothing, **keys: Any
) -> Source:
    """Make a source of a recipe, its secrets and further keys, as a user would."""
    environ = {f"SECRET_{number}": secret for number, secret in enumerate(secrets)}
    entry = {"recipe": recipe, **keys}
    if secrets:
        entry["secrets"] = [f"${{{variable}}}" for variable in environ]
    return load(yaml.safe_dump({"sources": {name: entry}}), environ, fetch)[name]


def knock(
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    url: str = "https://hooks.example.com/webhooks/door",
    received: datetime = NOW,
    token: str | None = None,
) -> Knock:
    """Make a request."""
    parts = urlsplit(url)
    return Knock(
        method=method,
        url=url,
        path=parts.path,
        query_string=parts.query.encode(),
        headers=Headers.of(headers or {}),
        body=body,
        received=received,
        remote="192.0.2.7",
        token=token,
    )


def receive(source: Source, request: Knock) -> Handshake | list[Draft]:
    """Let a source receive a request."""
    return asyncio.run(source.receive(request))


def drafts(source: Source, request: Knock) -> list[Draft]:
    """Let a source receive a request that holds events."""
    received = receive(source, request)
    assert isinstance(received, list)
    return received


def draft(source: Source, request: Knock) -> Draft:
    """Let a source receive a request that holds one event."""
    (only,) = drafts(source, request)
    return only


@dataclass(frozen=True)
class Vector:
    """An official vector as a request: what is sent, to which source, and when.

    Parameters
    ----------
    name, recipe, secret: the vector, the recipe it proves, and its secret or public key.
    body, url: what is sent, and where.
    headers: all headers that are signed or sign.
    signature, timestamp: the names of the headers that hold them.
    received: the time at which it was fresh.
    """

    name: str
    recipe: str
    secret: str
    body: bytes
    headers: dict[str, str]
    signature: str
    timestamp: str | None = None
    url: str = "https://hooks.example.com/webhooks/door"
    received: datetime = NOW
    keys: dict[str, Any] = field(default_factory=dict)

    def source(self, secret: str | None = None) -> Source:
        """Return the source that it is sent to."""
        return source_of(self.recipe, self.secret if secret is None else secret)

    def knock(self, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Knock:
        """Return it as a request, or a changed one."""
        return knock(
            self.body if body is None else body, headers or self.headers, url=self.url, received=self.received
        )


def _at(seconds: str) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def official_vectors() -> list[Vector]:
    """Return the official vectors whose body is known."""
    raw = {each["name"]: each for each in VECTORS}

    def plain(name: str, recipe: str, **more: Any) -> Vector:
        each = raw[name]
        header = each.get("header") or more.pop("header")
        secret = each.get("secret") or each.get("token") or each.get("key")
        headers = {header: each["value"], **more.pop("headers", {})}
        body = more.pop("body", None) or each["body"].encode()
        return Vector(name, recipe, secret, body, headers, header, url=each.get("url", Vector.url), **more)

    def headed(name: str, recipe: str, secret: str, signature: str, timestamp: str) -> Vector:
        each = raw[name]
        received = _at(each["headers"][timestamp])
        return Vector(
            name,
            recipe,
            each[secret],
            each["body"].encode(),
            each["headers"],
            signature,
            timestamp,
            received=received,
        )

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    hubspot_time = raw["hubspot-v3"]["timestamp"]
    standard = ("webhook-signature", "webhook-timestamp")
    sendgrid = "X-Twilio-Email-Event-Webhook-"
    return [
        plain("github-docs", "github"),
        plain("octokit", "github"),
        headed("slack", "slack", "secret", "X-Slack-Signature", "X-Slack-Request-Timestamp"),
        headed("standard-webhooks-v1", "standard-webhooks", "secret", *standard),
        headed("standard-webhooks-v1a", "standard-webhooks", "public", *standard),
        headed("sendgrid", "sendgrid", "public_key", f"{sendgrid}Signature", f"{sendgrid}Timestamp"),
        headed("openai", "openai", "secret", *standard),
        plain("twilio-form", "twilio", headers=form, body=urlencode(raw["twilio-form"]["params"]).encode()),
        plain("twilio-json", "twilio", headers={"Content-Type": "application/json"}),
        plain("square", "square"),
        plain("hubspot-v1", "hubspot-v1", header="X-HubSpot-Signature"),
        plain("hubspot-v2", "hubspot-v2", header="X-HubSpot-Signature"),
        plain(
            "hubspot-v3",
            "hubspot",
            header="X-HubSpot-Signature-v3",
            headers={"X-HubSpot-Request-Timestamp": hubspot_time},
            timestamp="X-HubSpot-Request-Timestamp",
            received=_at(hubspot_time[:-3]),
        ),
        plain("pagerduty", "pagerduty"),
        plain("paddle-rotation", "paddle", received=_at("1696195954")),
        plain("convoy-hex-sha512", "convoy"),
        plain("atlassian-hello-world", "jira"),
        plain("atlassian-hello-world", "bitbucket"),
    ]
