"""What an event says about a file that is ready to be loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hookline import Event

TABLE_NAME = r"^[a-z][a-z0-9_]{0,62}$"

FORMATS: dict[str, Literal["csv", "ndjson"]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
}


class Resource(BaseModel):
    """A file that is ready to be loaded into a table: the data of a `resource.ready` event."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str = Field(description="Where it is: an http or https address, or a file address.", repr=False)
    table: str = Field("", pattern=TABLE_NAME, description="The table to load it into; by default its name.")
    sha256: str | None = Field(None, pattern="^[0-9a-fA-F]{64}$", description="What its bytes must hash to.")
    format: Literal["csv", "ndjson"] = Field("csv", description="By default what its name ends in.")
    delimiter: str = Field(
        ",", min_length=1, max_length=1, description="What parts the fields of a CSV line."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """Take the table, format and delimiter from the file's name where they are not given."""
        if not isinstance(given, dict) or not isinstance(given.get("url"), str):
            return given
        name = PurePosixPath(urlsplit(given["url"]).path)
        stem = re.sub(r"[^a-z0-9]+", "_", name.stem.lower()).strip("_")[:60]
        taken: dict[str, Any] = {"table": stem if stem[:1].isalpha() else f"t_{stem}"}
        if name.suffix.lower() in FORMATS:
            taken["format"] = FORMATS[name.suffix.lower()]
        if name.suffix.lower() == ".tsv":
            taken["delimiter"] = "\t"
        return taken | {key: value for key, value in given.items() if value is not None}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if urlsplit(self.url).scheme.lower() not in ("http", "https", "file"):
            raise ValueError("url: give an http, https or file address")
        return self

    @property
    def name(self) -> str:
        """Return the address without user, query and fragment, which may hold secrets.

        Rows are replaced by this name, and the lineage knows the file by it, so a file that is signed
        anew for each delivery stays the same file.
        """
        parts = urlsplit(self.url)
        path = quote(parts.path or "/", safe="/%:@!$'()*+,;=~-._")
        return f"{parts.scheme.lower()}://{parts.netloc.rpartition('@')[2].lower()}{path}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched.

    Parameters
    ----------
    path: where it lies on this machine.
    name: the resource's name, without secrets.
    size_bytes: its size.
    sha256: what its bytes hash to, in hex.
    fetched_at: when fetching it began.
    """

    path: str
    name: str
    size_bytes: int
    sha256: str
    fetched_at: datetime


@task(name="describe", cache_policy=NO_CACHE)
def describe(event: Event | None, resource: Resource | None) -> Resource:
    """Return the resource that the event tells of, or the one that was given by hand.

    Parameters
    ----------
    event: an event whose data is that of a `Resource`.
    resource: the resource, for a run that no event has started.

    Raises
    ------
    ValueError: the event's data tells of no resource; says which part is wrong.
    """
    if resource is not None:
        return resource
    if event is None:
        raise ValueError("Nothing to load: give `resource`, or start this flow with an event.")
    return Resource.model_validate(event.data)
