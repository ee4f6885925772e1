"""Running the gateway: the parts are opened in order, served, and closed in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable

from hookline.changes import Changes
from hookline.dispatch import Dispatcher
from hookline.errors import PrefectRefused, PrefectUnavailable, Refusal, SettingsError
from hookline.event import Event
from hookline.following import Follower
from hookline.gateway.access import Access
from hookline.gateway.app import create_app
from hookline.gateway.house import House
from hookline.gateway.listening import listening
from hookline.gateway.rejecting import RejectionLog
from hookline.inbox import Dispatch, Inbox
from hookline.lineage.admitting import admit
from hookline.lineage.exporting import Targets, export_for_ever
from hookline.lineage.recorder import Recorder
from hookline.mirror import mirror_for_ever
from hookline.prefect_api import PrefectApi, RunInfo, require_address
from hookline.retention import Limits, retain_for_ever
from hookline.settings import Settings
from hookline.sources import Registry
from hookline.stamps import link_key, link_text

try:
    import uvloop
except ImportError:  # not made for every system
    uvloop = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

#: For how long the event loop may keep the interpreter when the writer's thread wants it.
SWITCH_SECONDS = 0.0005


def run(
    settings: Settings, instance: str, listens: Callable[[int], None], *, development: bool = False
) -> None:
    """Run `serve` in an event loop of its own, the fast one where the system has it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        runner.run(serve(settings, instance, listens, development=development))


async def serve(
    settings: Settings, instance: str, listens: Callable[[int], None], *, development: bool = False
) -> None:
    """Run gateway and dispatcher until SIGTERM or SIGINT.

    Parameters
    ----------
    instance: what the gateway says that it is.
    listens: told the port once connections are taken.
    development: sources whose secrets are not set get some for development; on the loopback alone.

    Raises
    ------
    SettingsError: no Prefect address, or no keys off loopback.
    InboxError: the inbox cannot be opened, or another gateway has it.
    SourcesError: the sources file cannot be used.
    """
    check_exposure(settings)
    require_address()
    async with open_house(settings, instance, development=development) as (house, works):
        _tune()

        def refused(refusal: Refusal, remote: str) -> None:
            house.rejections.add(refusal, door="connection", remote=remote, size=0)

        async with listening(create_app(house), settings.host, settings.port, on_refused=refused) as hub:
            listens(hub.port)
            await _until_signal(works)


def _tune() -> None:
    """Set the interpreter up for many short requests."""
    # The writer's thread has to get the interpreter while the event loop is busy, to begin a commit and to
    # say that it is done: dozens wait for that, and the default of 5 ms takes 14 % of the events a second.
    sys.setswitchinterval(SWITCH_SECONDS)
    # What has been loaded stays for ever; without it a collection has little to look at.
    gc.collect()
    gc.freeze()


def check_exposure(settings: Settings) -> None:
    """Refuse to listen beyond loopback without keys.

    Raises
    ------
    SettingsError: set keys, or bind to loopback.
    """
    if not settings.on_loopback and not settings.api_keys:
        raise SettingsError(
            f"HOOKLINE_HOST is {settings.host}, which others can reach, and there are no API keys: set"
            " HOOKLINE_API_KEYS, or HOOKLINE_HOST to 127.0.0.1"
        )


@contextlib.asynccontextmanager
async def open_house(
    settings: Settings, instance: str, *, development: bool
) -> AsyncIterator[tuple[House, list[asyncio.Task[None]]]]:
    """Open all parts; give them, and the tasks of those that work by themselves until the end."""
    registry = Registry.open(
        settings.sources, os.environ, settings.data if development and settings.on_loopback else None
    )
    keys = Access.from_keys(settings.api_keys)
    targets = Targets.from_settings(settings)
    changes = Changes()
    async with (
        Inbox.open(settings.database_url, exclusive=True) as inbox,
        PrefectApi.open() as prefect,
    ):
        links: asyncio.Queue[tuple[Event, RunInfo]] = asyncio.Queue()

        def started(dispatch: Dispatch, event: Event, run: RunInfo) -> None:
            follower.follow(run.id)
            links.put_nowait((event, run))

        dispatcher = Dispatcher(
            inbox,
            prefect,
            gateway_url=settings.gateway_url,
            default_limit=settings.dispatch_limit,
            changes=changes,
            on_started=started,
        )
        follower = Follower(inbox, prefect, changes=changes, on_finished=dispatcher.run_finished)
        recorder = Recorder(
            inbox,
            prefect,
            admit=lambda event: admit(inbox, event, offer=dispatcher.offer),
            export=targets is not None,
            retention=settings.retention,
        )
        house = House(
            settings=settings,
            inbox=inbox,
            prefect=prefect,
            registry=registry,
            access=keys,
            dispatcher=dispatcher,
            follower=follower,
            changes=changes,
            rejections=RejectionLog(inbox),
            claim_secret=await inbox.shared_secret("claims"),
            instance=instance,
        )
        works = [
            asyncio.create_task(work)
            for work in (
                dispatcher.run(),
                follower.run(),
                registry.watch(),
                mirror_for_ever(inbox, prefect),
                link_for_ever(links, prefect, settings.gateway_url),
                house.rejections.write_for_ever(),
                recorder.run(),
                retain_for_ever(inbox, Limits.from_settings(settings)),
                *([export_for_ever(inbox, targets)] if targets is not None else []),
            )
        ]
        try:
            yield house, works
        finally:
            await _stop(works)
            await house.rejections.write()
            await inbox.release_leases()


async def link_for_ever(
    links: asyncio.Queue[tuple[Event, RunInfo]], prefect: PrefectApi, gateway_url: str
) -> None:
    """Give each started run an artifact that links to its trace; the run does not wait for it."""
    while True:
        event, run = await links.get()
        with contextlib.suppress(PrefectUnavailable, PrefectRefused):
            await prefect.link_run(
                run.id,
                key=link_key(event),
                url=f"{gateway_url}/events/{event.id}",
                text=link_text(event),
            )


async def _stop(works: list[asyncio.Task[None]]) -> None:
    for work in works:
        work.cancel()
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("while stopping: %s", outcome)


async def _until_signal(works: list[asyncio.Task[None]]) -> None:
    """Wait until a signal comes, or until one of the works ends, which none should.

    Raises
    ------
    Exception: what one of the works ended with.
    """
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, signalled.set)
    waiting = asyncio.create_task(signalled.wait())
    await asyncio.wait([waiting, *works], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for work in works:
        if work.done() and (failure := work.exception()) is not None:
            raise failure
