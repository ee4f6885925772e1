"""A flow of three tasks that do next to nothing: what is measured is everything around them."""

from __future__ import annotations

from prefect import flow, task


@task
def read(number: int) -> int:
    """Take the event's number."""
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
def answer(number: int) -> int:
    """Run three tasks, one after another."""
    return write(double(read(number)))
