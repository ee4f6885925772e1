"""Flows that wait for the test, so that it can look at what is going on."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from prefect import flow, task

from jobs.ends import note, note_hook


@flow(on_crashed=[note_hook])
def hold(notes: str, until: str) -> None:
    """Begin, wait for a file, end."""
    note(notes, f"began {os.getpid()} {time.time()}")
    for _ in range(1200):
        if Path(until).exists():
            break
        threading.Event().wait(0.05)
    note(notes, "ended")


@task
def step(notes: str, until: str) -> None:
    hold.fn(notes, until)


@flow
def hold_in_a_task(notes: str, until: str) -> None:
    step(notes, until)


@flow
def tell_time(notes: str) -> None:
    note(notes, str(time.time()))


@flow
def tell_process(notes: str) -> None:
    note(notes, f"{os.getpid()} {os.getppid()} {os.environ.get('MESS')}")
    os.environ["MESS"] = "left behind"
