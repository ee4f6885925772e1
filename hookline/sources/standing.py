"""How a source stands: ready, or what it lacks. The one answer of API and command line; never a secret."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hookline.sources.source import Source


def standing(source: Source, at: datetime) -> dict[str, Any]:
    """Return how a source stands, as `GET /sources` gives it.

    Parameters
    ----------
    at: when; a source may be retired by then.
    """
    faults = [
        f"set {name}, then restart the gateway" if name.isidentifier() else f"put the secret into {name}"
        for name in source.missing
    ]
    faults += [f"a secret cannot be used: {wrong}" for wrong in source.unusable]
    retired = source.sunset is not None and source.sunset <= at
    return {
        "name": source.name,
        "recipe": source.recipe_name,
        "verified": source.recipe.verified,
        "state": "retired" if retired else "ready" if source.ready else "not ready",
        "types": f"{source.prefix}*",
        "path": f"/webhooks/{source.name}" + ("/<token>" if source.needs_token else ""),
        "secrets": [secret.origin for secret in (*source.secrets, *source.tokens)],
        "faults": faults,
    }
