"""The sources in force: read again when their files change, and kept while that is not possible."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hookline.errors import SourcesError
from hookline.event import now
from hookline.sources.development import missing_secrets
from hookline.sources.load import load_sources
from hookline.sources.source import Sources
from hookline.sources.watched import Files, stamp

log = logging.getLogger(__name__)

#: How often the files are looked at. A change counts from the look at which it is the same as at the one
#: before: whoever writes a file in several steps is given the time to finish.
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Change:
    """What a reading has changed, each by name.

    Parameters
    ----------
    added, removed, changed: sources that are new, are gone, or differ in their entry, recipe or secrets.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in a line."""
        parts = ((self.added, "added"), (self.removed, "removed"), (self.changed, "changed"))
        return "; ".join(f"{word} {', '.join(names)}" for names, word in parts if names) or "nothing changed"


class Registry:
    """The sources in force.

    Parameters
    ----------
    sources: those to begin with.
    path: the file that declares them; None where they do not come from a file.
    environ: where `${NAME}` is looked up.
    development: the data folder that keeps development secrets, where those are to be made.
    files: what was looked at to read the sources.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        path: Path | None = None,
        environ: Mapping[str, str] | None = None,
        development: Path | None = None,
        files: Files | None = None,
    ) -> None:
        #: Replaced as a whole: whoever took it goes on with what it took.
        self.sources = sources
        self.path = path
        self.since = now()
        #: Why the file cannot be used, or None while it can.
        self.fault: str | None = None
        self.counts: Counter[str] = Counter()
        #: Names of secrets that were made up for development.
        self.made_up: frozenset[str] = frozenset()
        self._environ = environ or {}
        self._development = development
        self._files: Files = files or {}
        #: The files as they were at the last look, where they had changed.
        self._settling: Files | None = None
        self._reading = asyncio.Lock()

    @classmethod
    def open(cls, path: Path, environ: Mapping[str, str], development: Path | None = None) -> Registry:
        """Read the sources for the first time.

        Raises
        ------
        SourcesError: the file cannot be used.
        """
        registry = cls(Sources({}), path=path, environ=environ, development=development)
        registry.sources, registry.made_up = registry._read(registry._files)
        return registry

    async def reload(self) -> Change:
        """Read the files now; return what has changed.

        Raises
        ------
        SourcesError: they cannot be used; the previous sources stay in force.
        """
        async with self._reading:
            files: Files = {}
            try:
                read, made_up = await asyncio.to_thread(self._read, files)
            except SourcesError as wrong:
                self.fault = str(wrong)
                self.counts["failed"] += 1
                raise
            finally:
                self._files = files
            change, self.sources = _merged(self.sources, read)
            self.made_up = made_up
            if self.fault is not None or change != Change():
                self.since = now()
                self.counts["changed"] += 1
            self.fault = None
            return change

    async def watch(self) -> None:
        """Read the files again whenever they have changed, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look at the files once, and read them again if they have changed and are at rest."""
        found = await asyncio.to_thread(_stamps, list(self._files))
        if found == self._files:
            self._settling = None
        elif found != self._settling:
            self._settling = found
        else:
            self._settling = None
            await self._reload_and_tell()

    async def _reload_and_tell(self) -> None:
        told = self.fault
        try:
            change = await self.reload()
        except SourcesError as wrong:
            if str(wrong) != told:
                log.error("the previous sources stay in force: %s", wrong)
        except Exception:
            # Whatever it is, the gateway goes on with the sources that it has.
            log.exception("the previous sources stay in force")
            self.fault = f"{self.path} cannot be read; see the gateway's log"
        else:
            if change != Change() or told is not None:
                log.info("%s was reloaded: %s", self.path, change)

    def _read(self, files: Files) -> tuple[Sources, frozenset[str]]:
        if self.path is None:
            return self.sources, self.made_up
        if len(self.sources):
            _check_not_empty(self.path, files)
        sources = load_sources(self.path, self._environ, files=files)
        if self._development is None:
            return sources, frozenset()
        made = missing_secrets(sources, self._development)
        if made:
            sources = load_sources(self.path, {**self._environ, **made}, files=files)
        return sources, frozenset(made)


def _stamps(paths: list[Path]) -> Files:
    return {path: stamp(path) for path in paths}


def _check_not_empty(path: Path, files: Files) -> None:
    """Refuse a file that is empty or not there: it is rather one that is being replaced, or was lost."""
    files[path] = stamp(path)
    try:
        if path.read_bytes().strip():
            return
        wrong = "is empty"
    except FileNotFoundError:
        wrong = "is missing"
    except OSError as failed:
        wrong = f"cannot be read: {failed.strerror}"
    raise SourcesError(f"{path} {wrong}. To have no sources, write `sources: {{}}`.")


def _merged(before: Sources, read: Sources) -> tuple[Change, Sources]:
    """Return what differs, and the sources that were read, with those of before where nothing has changed.

    What they have fetched, such as the certificates of SNS, is kept with them.
    """
    same = [name for name in read if name in before and read[name].made_of == before[name].made_of]
    change = Change(
        added=tuple(name for name in read if name not in before),
        removed=tuple(name for name in before if name not in read),
        changed=tuple(name for name in read if name in before and name not in same),
    )
    merged = {
        name: replace(before[name], foreign=source.foreign) if name in same else source
        for name, source in read.items()
    }
    return change, Sources(merged)
