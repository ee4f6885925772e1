"""A worker's journal tells its successor which runs it had in hand, and only once it is dead."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

from hookline.worker.journal import Journal

MINE, MAYBE, DONE = (UUID(int=number) for number in (1, 2, 3))

KEEPER = """
import sys, uuid, pathlib
from hookline.worker.journal import Journal
with Journal(pathlib.Path(sys.argv[1])) as journal:
    journal.reach_for(uuid.UUID(int=1))
    journal.begin(uuid.UUID(int=1))
    journal.reach_for(uuid.UUID(int=2))
    journal.begin(uuid.UUID(int=3))
    journal.end(uuid.UUID(int=3))
    print("kept", flush=True)
    sys.stdin.read()
"""


def test_the_runs_of_a_worker_that_is_killed_are_found_once(tmp_path: Path) -> None:
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == b"kept\n"
    with Journal(tmp_path) as successor:
        assert dict(successor.orphans()) == {}, "it still lives"
        keeper.send_signal(signal.SIGKILL)
        keeper.wait(10)
        assert dict(successor.orphans()) == {MINE: True, MAYBE: False}
        assert dict(successor.orphans()) == {}
    assert DONE not in {MINE, MAYBE}


def test_the_journal_of_a_successor_that_dies_as_well_has_them_too(tmp_path: Path) -> None:
    (tmp_path / "old.journal").write_text(f"+{MINE}\n?{MAYBE}\n+{DONE}"[:-3])  # torn by its death
    with Journal(tmp_path) as successor:
        assert dict(successor.orphans()) == {MINE: True, MAYBE: False}
        [kept] = tmp_path.glob("*.journal")
        assert kept.read_text() == f"+{MINE}\n?{MAYBE}\n"


def test_a_worker_that_leaves_in_peace_leaves_no_journal(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.begin(MINE)
    assert list(tmp_path.iterdir()) == []
