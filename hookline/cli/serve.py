"""`hookline gateway` and `hookline worker`: the processes that `up` starts, each by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Annotated

from cyclopts import Parameter

from hookline.cli.data_folder import locked, new_instance, read_running, write_running
from hookline.cli.system import find_system, prefect_environment, record, use_prefect
from hookline.settings import Settings, load_settings


def gateway(
    *,
    development_secrets: Annotated[
        bool,
        Parameter(help="Generate secrets for sources whose own are not set; loopback only.", negative=""),
    ] = False,
) -> None:
    """Run the gateway: the HTTP front door and the dispatcher.

    It needs the address of a Prefect server, which does not have to be up. SIGTERM or Ctrl-C stops it.

    Example: PREFECT_API_URL=http://127.0.0.1:4200/api hookline gateway
    """
    settings = load_settings()
    # Imported here and below because Prefect reads its address when it is imported.
    from hookline.gateway import run
    from hookline.prefect_api import require_address

    require_address()
    with _findable(settings) as (instance, listens):
        run(settings, instance, listens, development=development_secrets)


def worker(
    *,
    pool: Annotated[str, Parameter(help="The work pool to take runs from.")] = "warm",
    limit: Annotated[int | None, Parameter(help="Maximum number of concurrent runs.")] = None,
    name: Annotated[str | None, Parameter(help="The worker's name in Prefect.")] = None,
    create_pool: Annotated[
        bool, Parameter(help="Create the pool if it does not exist, or else wait for it.")
    ] = True,
) -> None:
    """Run a warm worker.

    Without PREFECT_API_URL it works for the system that runs in this folder. SIGTERM or Ctrl-C stops it;
    runs in progress may finish first.

    Example: PREFECT_API_URL=http://127.0.0.1:4200/api hookline worker --pool warm --limit 4
    """
    system = find_system()
    use_prefect(system)
    address = os.environ.get("PREFECT_API_URL")
    if system.running and prefect_environment(system).get("PREFECT_API_URL") == address:
        # It works for that system: flow runs send their events there.
        os.environ.setdefault("HOOKLINE_URL", system.running["gateway"])
        os.environ["HOOKLINE_DATA"] = str(system.settings.data)
    from hookline.prefect_api import require_address

    require_address()
    asyncio.run(_work(pool, limit, name, create_pool=create_pool))


@contextlib.contextmanager
def _findable(settings: Settings) -> Iterator[tuple[str, Callable[[int], None]]]:
    """Let other commands find this gateway, as long as the context lasts.

    Gives what the gateway is to say that it is, and what to call with its port. Where `up` has started it, or
    another gateway over the same folder is there, that one is found already.
    """
    if running := read_running(settings.data):
        yield running.get("instance") or new_instance(), lambda port: None
        return
    from hookline.prefect_api import require_address

    instance = new_instance()

    def listens(port: int) -> None:
        bound = settings.model_copy(update={"port": port})
        facts = record(bound, "hookline gateway", instance, {"PREFECT_API_URL": require_address()})
        write_running(settings.data, facts)

    with locked(settings.data):
        yield instance, listens


async def _work(pool: str, limit: int | None, name: str | None, *, create_pool: bool) -> None:
    from hookline.worker import run_worker

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_worker(pool, limit=limit, name=name, create_pool=create_pool, stop=stop)
