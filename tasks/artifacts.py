"""Artifacts: what a run leaves for people to read in the Prefect UI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

#: A table artifact is for reading; the whole table is in the warehouse.
MOST_ROWS = 500

_OPTIONS: dict[str, Any] = {"retries": 3, "retry_delay_seconds": [1, 5, 15], "cache_policy": NO_CACHE}


@task(name="publish table", **_OPTIONS)
def publish_table(name: str, parts: Sequence[Sequence[dict[str, Any]]], description: str) -> None:
    """Publish rows as a table artifact.

    Parameters
    ----------
    name: what the artifact's key is made of; runs that use the same name make versions of one artifact.
    parts: the rows, one object each, in parts as tasks side by side made them; the first 500 are shown.
    description: Markdown above the table.
    """
    rows = list(chain.from_iterable(parts))
    if len(rows) > MOST_ROWS:
        description += f"\n\nThe first {MOST_ROWS} of {len(rows)} rows."
    create_table_artifact(table=rows[:MOST_ROWS], key=key_of(name), description=description)


@task(name="publish text", **_OPTIONS)
def publish_text(name: str, markdown: str) -> None:
    """Publish Markdown as an artifact.

    Parameters
    ----------
    name: what the artifact's key is made of.
    markdown: the text.
    """
    create_markdown_artifact(markdown=markdown, key=key_of(name))


@task(name="publish link", **_OPTIONS)
def publish_link(name: str, url: str, text: str) -> None:
    """Publish a link as an artifact.

    Parameters
    ----------
    name: what the artifact's key is made of.
    url: where it leads; only http and https links are published, since people will click on it.
    text: what is shown.
    """
    if url.startswith(("https://", "http://")):
        create_link_artifact(link=url, link_text=text, key=key_of(name))


def key_of(name: str) -> str:
    """Return an artifact key, which may hold lower-case letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
