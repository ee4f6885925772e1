"""A flow of three tasks that do next to nothing: what is measured is everything around them."""

from __future__ import annotations

import os
import time

from prefect import flow, task


@task
def read(number: int, ledger: str) -> int:
    """Write down when the first task's body began, before anything else."""
    write_down(ledger, number, time.time_ns())
    return number


@task
def double(number: int) -> int:
    """Do the work."""
    return number * 2


@task
def write(number: int) -> int:
    """Hand the result on."""
    return number


@flow
def timed(number: int, ledger: str) -> int:
    """Run three tasks, one after another."""
    return write(double(read(number, ledger)))


def write_down(ledger: str, number: int, nanoseconds: int) -> None:
    """Add a line to the ledger, whole whatever other processes write."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, b"%d %d\n" % (number, nanoseconds))
    finally:
        os.close(file)
