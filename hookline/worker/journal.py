"""The worker's journal: which flow runs it has in hand, for whoever comes after it if it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from uuid import UUID, uuid4


class Journal:
    """A file that its worker holds locked while it lives, with the ids of the runs that it began and ended.

    Parameters
    ----------
    folder: where the journals of all workers of a pool on this machine are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{uuid4()}.journal"
        file = path.open("x", encoding="ascii")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def reach_for(self, run_id: UUID) -> None:
        """Write that a run may be in hand in a moment, if Prefect gives it to us."""
        self._write(f"?{run_id}\n")

    def begin(self, run_id: UUID) -> None:
        """Write that a run is in hand."""
        self._write(f"+{run_id}\n")

    def end(self, run_id: UUID) -> None:
        """Write that a run is not in hand any more."""
        self._write(f"-{run_id}\n")

    def orphans(self) -> Iterator[tuple[UUID, bool]]:
        """Take over the journals of workers that are gone.

        Returns the runs that they had in hand, and whether it is certain that they had.
        """
        for path in self._folder.glob("*.journal"):
            if self._file is not None and path == Path(self._file.name):
                continue
            try:
                file = path.open("r", encoding="ascii")
            except FileNotFoundError:
                continue  # another worker was faster
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                in_hand = _in_hand(file)
                for run_id, certain in in_hand.items():
                    (self.begin if certain else self.reach_for)(run_id)
                path.unlink(missing_ok=True)
            yield from in_hand.items()

    def _write(self, line: str) -> None:
        if self._file is not None:
            # One write for a line: it is whole in the file, or not there, whenever the worker dies.
            os.write(self._file.fileno(), line.encode("ascii"))


def _in_hand(lines: IO[str]) -> dict[UUID, bool]:
    runs: dict[UUID, bool] = {}
    for line in lines:
        if not line.endswith("\n"):
            continue  # its worker died in the middle of it
        run_id = UUID(line[1:-1])
        if line[0] == "-":
            runs.pop(run_id, None)
        else:
            runs[run_id] = line[0] == "+"
    return runs
