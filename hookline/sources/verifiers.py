"""Which verifiers a source has: each secret belongs to one scheme of its recipe."""

from __future__ import annotations

from collections.abc import Sequence

from hookline.sources.fetch import Fetch
from hookline.sources.pubsub import PubSubVerifier
from hookline.sources.recipe import Algorithm, Recipe, Scheme
from hookline.sources.secret import Secret, UnusableSecret
from hookline.sources.sns import SnsVerifier
from hookline.sources.twilio import TwilioVerifier
from hookline.sources.verify import (
    DigestVerifier,
    PublicKeyVerifier,
    TokenVerifier,
    UrlTokenVerifier,
    Verifier,
)


def make_verifiers(
    recipe: Recipe,
    secrets: Sequence[Secret],
    *,
    topics: Sequence[str] = (),
    audience: str | None = None,
    email: str | None = None,
    url_token: bool = False,
    fetch: Fetch,
) -> tuple[list[Verifier], list[str]]:
    """Return the verifiers, and what is wrong with secrets that cannot be used.

    Parameters
    ----------
    recipe: the source's recipe.
    secrets: those that were found.
    topics: ARNs of the topics that are let in (SNS).
    audience, email: what tokens must say (Pub/Sub).
    url_token: no secret is configured, so the token in the URL is enough where the recipe allows it.
    fetch: how keys are fetched.
    """
    verifiers: list[Verifier] = []
    faults: list[str] = []
    for scheme in recipe.schemes:
        if scheme.algorithm is Algorithm.SNS:
            verifiers.append(SnsVerifier(topics, fetch))
        elif scheme.algorithm is Algorithm.PUBSUB:
            verifiers.append(PubSubVerifier(audience or "", email or "", fetch))
        elif scheme.algorithm is Algorithm.URL_TOKEN:
            if url_token:
                verifiers.append(UrlTokenVerifier())
        else:
            mine = [secret for secret in secrets if scheme_of(recipe, secret) is scheme]
            verifiers += _keyed(scheme, mine, faults)
    return verifiers, faults


def scheme_of(recipe: Recipe, secret: Secret) -> Scheme | None:
    """Return the scheme a secret belongs to: the first whose key prefix it has or that asks for none."""
    for scheme in recipe.schemes:
        if not scheme.algorithm.needs_secret:
            continue
        if not scheme.key.required or secret.text.startswith(scheme.key.prefix):
            return scheme
    return None


def _keyed(scheme: Scheme, secrets: Sequence[Secret], faults: list[str]) -> list[Verifier]:
    usable: list[Secret] = []
    for secret in secrets:
        try:
            _make(scheme, [secret])
        except UnusableSecret as wrong:
            faults.append(str(wrong))
        else:
            usable.append(secret)
    return [_make(scheme, usable)] if usable else []


def _make(scheme: Scheme, secrets: Sequence[Secret]) -> Verifier:
    if scheme.algorithm is Algorithm.TWILIO:
        return TwilioVerifier(secrets)
    if scheme.algorithm.public_key:
        return PublicKeyVerifier(scheme, secrets)
    if scheme.algorithm in (Algorithm.TOKEN, Algorithm.BASIC):
        return TokenVerifier(scheme, secrets)
    return DigestVerifier(scheme, secrets)
