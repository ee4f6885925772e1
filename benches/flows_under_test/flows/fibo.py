"""A flow of many tasks side by side, which think for a moment or for long."""

from __future__ import annotations

import time

from prefect import flow, task

from flows.timed import write_down


@task
def fibo(n: int) -> int:
    """Return the n-th Fibonacci number, the slow way."""
    return _fibo(n)


@flow
def fibos(number: int, ledger: str, count: int, n: int) -> int:
    """Compute `fibo(n)` in `count` tasks side by side."""
    write_down(ledger, number, time.time_ns())
    return sum(fibo.map([n] * count).result())


def _fibo(n: int) -> int:
    return n if n < 2 else _fibo(n - 1) + _fibo(n - 2)
