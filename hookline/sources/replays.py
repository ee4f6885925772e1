"""Captured deliveries: could somebody send one again as a new event, by giving it another id? Pure.

A signature proves that its content was the provider's. An id that it does not cover is anybody's to choose:
whoever got hold of a delivery can send it again under a new one. Then the body has to tell.
"""

from __future__ import annotations

import re
from datetime import timedelta

from hookline.sources.recipe import Algorithm, Recipe, Scheme

#: Where bodies may well be alike: long enough for retries and for who sends again what it has just seen.
SHORT_WINDOW = timedelta(minutes=10)

_PLACE = re.compile(r"\{([^{}]*)\}")
#: Who knows the secret, or has a token that names its sender, needs no delivery to send again.
_UNSIGNED = (Algorithm.TOKEN, Algorithm.BASIC, Algorithm.URL_TOKEN, Algorithm.PUBSUB)


def default_window(recipe: Recipe, id: str | None) -> timedelta | None:
    """Return for how long an equal body is a duplicate where the source does not say; None is not at all.

    Parameters
    ----------
    recipe: how the provider signs.
    id: the template of the sender's id.
    """
    # In binary mode a CloudEvent's id is a header.
    ids = [each for each in (id, "{header.ce-id}" if recipe.cloudevents else None) if each]
    windows = [
        _window(recipe, scheme)
        for scheme in recipe.schemes
        if not all(_covers_id(recipe, scheme, each) for each in ids)
    ]
    return max(windows, default=None)


def _window(recipe: Recipe, scheme: Scheme) -> timedelta:
    if scheme.timestamp is not None and not scheme.timestamp.optional:
        # After that the signature is too old.
        return scheme.timestamp.past + scheme.timestamp.future
    return recipe.dedup or SHORT_WINDOW


def _covers_id(recipe: Recipe, scheme: Scheme, id: str) -> bool:
    if scheme.algorithm in _UNSIGNED:
        return True
    # SNS signs its MessageId, which is a field of the body as everything there.
    signed = "{body}" if scheme.algorithm is Algorithm.SNS else scheme.sign
    if scheme.algorithm is Algorithm.TWILIO:
        signed = "{url}{body}"
    covered = {place.lower() for place in _PLACE.findall(signed)}
    if "id" in covered and id == recipe.id:
        return True
    return all(_covers(covered, part.strip()) for place in _PLACE.findall(id) for part in place.split("|"))


def _covers(covered: set[str], place: str) -> bool:
    root = place.partition(".")[0]
    if root == "data":
        return not covered.isdisjoint(("body", "escaped_body", place.lower()))
    if root in ("query", "path", "url"):
        return "url" in covered
    return place[:1] in "'\"" or place.lower() in covered
