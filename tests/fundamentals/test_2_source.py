"""Lesson 2: a source is where events come from, and it says who may knock."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from hookline.errors import Refusal
from hookline.event import now
from hookline.knock import Headers, Knock
from hookline.sources import Source, load_sources

SOURCES = """
sources:
  github:
    recipe: github
    secrets: [${GITHUB_WEBHOOK_SECRET}]
"""
BODY = b'{"ref": "refs/heads/main", "repository": {"full_name": "acme/shop"}}'


@pytest.fixture
def github(tmp_path: Path) -> Source:
    """A source is declared in a file; its secret comes from the environment and is never written there."""
    (tmp_path / "sources.yaml").write_text(SOURCES)
    return load_sources(tmp_path / "sources.yaml", {"GITHUB_WEBHOOK_SECRET": "open sesame"})["github"]


def a_push(secret: bytes) -> Knock:
    signature = "sha256=" + hmac.new(secret, BODY, hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "d-1", "X-Hub-Signature-256": signature}
    return Knock(
        method="POST",
        url="http://localhost:4280/webhooks/github",
        path="/webhooks/github",
        query_string=b"",
        headers=Headers.of({**headers, "Content-Type": "application/json"}),
        body=BODY,
        received=now(),
    )


async def test_a_signed_delivery_becomes_an_event_with_a_type_a_subject_and_its_senders_id(
    github: Source,
) -> None:
    """The recipe `github` knows where each of these lies; nothing else needs to be configured."""
    [draft] = await github.receive(a_push(b"open sesame"))  # type: ignore[misc]

    assert draft.type == "github.push"
    assert draft.subject == "acme/shop"
    assert draft.source_id == "d-1"
    assert draft.body == BODY


async def test_whoever_does_not_know_the_secret_is_turned_away(github: Source) -> None:
    """401, and no word about what the signature should have been."""
    with pytest.raises(Refusal) as refused:
        await github.receive(a_push(b"close sesame"))

    assert refused.value.status == 401
    assert "sesame" not in str(refused.value)


async def test_a_source_without_its_secret_lets_nobody_in(tmp_path: Path) -> None:
    """It says which variable is missing, so that the operator can mend it: 503, try again later."""
    (tmp_path / "sources.yaml").write_text(SOURCES)
    source = load_sources(tmp_path / "sources.yaml", {})["github"]

    with pytest.raises(Refusal, match="GITHUB_WEBHOOK_SECRET") as refused:
        await source.receive(a_push(b""))

    assert refused.value.status == 503
