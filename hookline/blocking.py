"""The one place where sync code meets async code: everything inside Hookline's client side is async."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def blocking(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """Return a sync function that does what `function` does and blocks until it is done.

    It may be called while an event loop runs in this thread, as happens in a sync task that an async
    flow calls: the work then goes to a thread of its own, in a copy of the caller's context.

    Parameters
    ----------
    function: the async function; name, signature and docstring are taken over.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        def run() -> R:
            return asyncio.run(function(*args, **kwargs))

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return run()
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(contextvars.copy_context().run, run).result()

    return call
