"""Prefect's server starts with its garbage collector off the event loop's thread."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import gc, json, threading
from hookline.prefect_server import garbage
garbage.COLLECT_SECONDS, garbage.YOUNG_ROUNDS = 0.001, 2
where = {}
done = threading.Event()
def told(phase, info):
    where.setdefault(info["generation"], threading.current_thread().name)
    if len(where) == 2:
        done.set()
gc.callbacks.append(told)
garbage.collect_beside()
garbage = [[] for _ in range(100_000)]
for each in garbage:
    each.append(each)
del garbage, each
print(json.dumps([done.wait(30), gc.isenabled(), sorted(set(where.values()))]))
"""


def test_young_and_old_garbage_is_collected_and_always_on_the_threads_own() -> None:
    """However much is allocated on the main thread, no collection starts there."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True, False, ["hookline-garbage"]]
