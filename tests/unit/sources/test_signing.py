"""Hookline's own signer, for ready-made requests: what it signs is accepted, and nobody's key is made up."""

from __future__ import annotations

import pytest

from hookline.errors import SourcesError
from hookline.sources import builtin, sign
from tests.unit.sources.cases import CASES, SECRET, URL, Case
from tests.unit.sources.support import NOW, draft, drafts, knock, load, source_of

OTHERS_KEYS = {case.recipe for case in CASES if builtin(case.recipe).schemes[0].algorithm.public_key} - {
    "standard-webhooks"
}
IN_THE_BODY = {"mailgun", "cloudevents"}
SIGNED = [case for case in CASES if case.recipe not in OTHERS_KEYS | IN_THE_BODY]


@pytest.mark.parametrize("case", SIGNED, ids=lambda case: case.name or case.recipe)
def test_what_is_signed_is_accepted(case: Case) -> None:
    """With the headers that it makes, a body of the provider becomes an event with the given id and name."""
    source = case.source()
    content_type = (case.headers | case.sign(case.raw)).get("Content-Type", "application/json")
    headers = sign(source, case.raw, NOW, kind="push", id="d-1", url=URL, content_type=content_type)
    (found,) = drafts(source, knock(case.raw, headers))
    header_names_it = "header." in (source.recipe.type or ("",))[0]
    assert found.type == (case.type if not header_names_it else found.type)
    if header_names_it:
        assert "push" in found.type
    if (source.recipe.id or "").startswith("{header."):
        assert found.source_id == "d-1"


def test_a_new_delivery_has_a_new_id() -> None:
    """Without an id each request is a delivery of its own."""
    source = source_of("github", SECRET)
    first, second = (sign(source, b"{}", NOW, kind="push") for _ in range(2))
    assert first["X-GitHub-Delivery"] != second["X-GitHub-Delivery"]
    assert draft(source, knock(b"{}", first)).type == "github.push"


def test_a_token_in_the_url_needs_no_headers() -> None:
    """Where the URL is the credential, there is nothing to sign."""
    source = load("sources: {d: {recipe: docker-hub, tokens: [${T}]}}", {"T": "t"})["d"]
    headers = sign(source, b"{}", NOW)
    assert draft(source, knock(b"{}", headers, token="t")).type == "docker.push"


@pytest.mark.parametrize("name", ["discord", "sendgrid"])
def test_with_a_public_key_nothing_can_be_signed(name: str) -> None:
    """The private key is the provider's."""
    case = next(case for case in CASES if case.recipe == name)
    with pytest.raises(SourcesError, match="only its sender has the key"):
        sign(case.source(), b"{}", NOW)


def test_what_is_missing_is_named() -> None:
    """A secret that is not set is asked for by name; a signature in the body cannot be added to it."""
    with pytest.raises(SourcesError, match="GITHUB"):
        sign(load("sources: {g: {recipe: github, secrets: [${GITHUB}]}}")["g"], b"{}", NOW)
    with pytest.raises(SourcesError, match="part of the body"):
        sign(source_of("mailgun", SECRET), b"{}", NOW)


def test_recipes_of_ones_own_are_signed_too() -> None:
    """A recipe written out is signed by the same rules: other hashes, encodings, units and places."""
    for algorithm, encoding, unit in (("hmac-sha384", "base64", "rfc3339"), ("hmac-sha512", "hex", "ms")):
        recipe = {
            "algorithm": algorithm,
            "key": {"encoding": "hex"},
            "sign": "{method} {url} {ts} {header.X-Nonce} {id} {body}",
            "signature": {"header": "X-Sig", "prefix": "v=", "split": ";", "encoding": encoding},
            "timestamp": {"place": "pair.t", "unit": unit},
            "id": "{header.X-Id}",
            "type": "made.{header.X-Kind}",
        }
        source = source_of(recipe, "00ff" * 8)
        headers = sign(source, b"{}", NOW, kind="thing", url=URL)
        assert draft(source, knock(b"{}", headers)).type == "made.thing"
