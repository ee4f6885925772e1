"""GitHub: reading what a webhook of it tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import AwareDatetime, BaseModel, Field

from hookline import Event


class _Person(BaseModel):
    name: str = ""
    username: str | None = None


class _Commit(BaseModel):
    id: str = Field(pattern="^[0-9a-f]{40,64}$")
    message: str = ""
    timestamp: AwareDatetime
    author: _Person = _Person()
    added: list[str] = []
    removed: list[str] = []
    modified: list[str] = []


class _Repository(BaseModel):
    full_name: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")


class _Payload(BaseModel):
    """The members of a push payload that are used here; GitHub sends many more."""

    ref: str
    compare: str = ""
    repository: _Repository
    commits: list[_Commit] = []


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit.

    Parameters
    ----------
    sha: its id.
    author: the author's GitHub name, or the name in the commit.
    authored: when it was made, with the author's offset.
    message: the first line of its message.
    files: how many files it touched.
    """

    sha: str
    author: str
    authored: datetime
    message: str
    files: int


@dataclass(frozen=True, slots=True)
class Push:
    """A push.

    Parameters
    ----------
    delivery: GitHub's id of the delivery.
    repository: as `acme/shop`.
    ref: what was pushed to, as `refs/heads/main`.
    compare: the address of the page that shows the changes.
    pushed: when it was accepted.
    commits: what it brought; none where a branch was deleted.
    """

    delivery: str
    repository: str
    ref: str
    compare: str
    pushed: datetime
    commits: tuple[Commit, ...]


@task(name="read push", cache_policy=NO_CACHE)
def read_push(event: Event | None) -> Push:
    """Read a GitHub push.

    Parameters
    ----------
    event: a `github.push` event.

    Raises
    ------
    ValueError: there is no event, or its data is no push; says which part is wrong.
    """
    if event is None:
        raise ValueError("Nothing to record: this flow is started by a github.push event.")
    payload = _Payload.model_validate(event.data)
    return Push(
        delivery=event.source_id or event.id,
        repository=payload.repository.full_name,
        ref=payload.ref,
        compare=payload.compare,
        pushed=event.accepted,
        commits=tuple(_commit(commit) for commit in payload.commits),
    )


def _commit(commit: _Commit) -> Commit:
    return Commit(
        sha=commit.id,
        author=commit.author.username or commit.author.name or "unknown",
        authored=commit.timestamp,
        message=commit.message.partition("\n")[0],
        files=len(commit.added) + len(commit.removed) + len(commit.modified),
    )
