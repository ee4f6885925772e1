"""`hookline erase`: take a person's data out of events, and leave the accounting true."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from cyclopts import Parameter
from rich.prompt import Confirm

from hookline.cli.events import point_in_time
from hookline.cli.ids import WHOLE
from hookline.cli.inbox import open_inbox
from hookline.cli.output import Json, console, print_json
from hookline.cli.system import use_system
from hookline.errors import HooklineError
from hookline.event import now
from hookline.inbox import Inbox, Search
from hookline.inbox.erasing import Erasure
from hookline.inbox.erasing import erase as erase_events
from hookline.settings import Settings

#: Events of one transaction: the door goes on meanwhile.
AT_ONCE = 100


def erase(
    *ids: Annotated[str, Parameter(help="Tracking ids; or search with the options.")],
    type: Annotated[str | None, Parameter(help="Events of this type; a trailing * matches the rest.")] = None,
    source: Annotated[str | None, Parameter(help="Events from this source.")] = None,
    subject: Annotated[str | None, Parameter(help="Events with this subject.")] = None,
    since: Annotated[
        str | None, Parameter(help="Accepted since a time, or an age such as 15m or 2d.")
    ] = None,
    until: Annotated[str | None, Parameter(help="Accepted before a time, or an age.")] = None,
    with_ids: Annotated[
        bool,
        Parameter(negative="", help="The senders' own ids too; what is delivered again is a new event then."),
    ] = False,
    dry_run: Annotated[
        bool, Parameter(name="--dry-run", negative="", help="Show what would be erased, and erase nothing.")
    ] = False,
    yes: Annotated[
        bool, Parameter(negative="", help="Agree to what a search finds where nobody is at the terminal.")
    ] = False,
    json: Json = False,
) -> int:
    """Erase what senders wrote in some events: bodies, headers, subjects and addresses.

    Type, source, times and status stay, so that `hookline audit` still adds up; it says how many are erased.
    Events that are not finished are left, and named. Prefect keeps the parameters of its runs: those are
    named too, to be deleted there. This cannot be undone: what a search finds is erased once you agree, at
    a terminal when asked, elsewhere with --yes.

    Example: hookline erase --subject anna@example.com --dry-run
    """
    search = {
        "type": type,
        "source": source,
        "subject": subject,
        "since": point_in_time("--since", since),
        "until": point_in_time("--until", until),
    }
    searching = any(value is not None for value in search.values())
    if bool(ids) is searching:
        raise HooklineError(
            "Say which events: tracking ids, or a search such as --subject anna@example.com --since 2d."
        )
    wrong = [each for each in ids if not WHOLE.fullmatch(each)]
    if wrong:
        raise HooklineError(f"{wrong[0]!r} is no whole tracking id; `hookline events ls` shows them.")
    settings = use_system()
    if searching and not (dry_run or yes):
        would = asyncio.run(_erase(settings, ids, search, with_ids=with_ids, dry_run=True))
        if would.erased and not _agreed(len(would.erased), json):
            return 1
    found = asyncio.run(_erase(settings, ids, search, with_ids=with_ids, dry_run=dry_run))
    if json:
        print_json(_document(found, dry_run))
    else:
        _print(found, dry_run)
    return 1 if found.unfinished else 0


def _agreed(events: int, json: bool) -> bool:
    """Return whether somebody at the terminal agrees.

    Raises
    ------
    HooklineError: nobody is there to be asked.
    """
    what = f"{events} event{'s' if events > 1 else ''}"
    if json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise HooklineError(
            f"This would erase {what} and cannot be undone: --dry-run shows which, --yes agrees."
        )
    return Confirm.ask(f"Erase {what}? This cannot be undone.", default=False, console=console())


async def _erase(
    settings: Settings, ids: tuple[str, ...], search: dict[str, str | None], *, with_ids: bool, dry_run: bool
) -> Erasure:
    done, moment = Erasure(), now()
    async with open_inbox(settings) as inbox:
        async for some in _pages(inbox, ids, search):
            done += await inbox.write(
                partial(erase_events, event_ids=some, at=moment, with_ids=with_ids, dry_run=dry_run)
            )
    return done


async def _pages(
    inbox: Inbox, ids: tuple[str, ...], search: dict[str, str | None]
) -> AsyncIterator[list[str]]:
    if ids:
        for start in range(0, len(ids), AT_ONCE):
            some = list(ids[start : start + AT_ONCE])
            for each in some:
                if await inbox.event(each) is None:
                    raise HooklineError(f"There is no event {each}; `hookline events ls` lists them.")
            yield some
        return
    wanted: dict[str, Any] = dict(search)
    for name in ("since", "until"):
        if wanted[name] is not None:
            wanted[name] = datetime.fromisoformat(wanted[name])
    cursor: str | None = None
    while True:
        page = await inbox.search(Search(**wanted, cursor=cursor, limit=AT_ONCE, oldest_first=True))
        if not page:
            return
        cursor = page[-1].id
        yield [event.id for event in page if event.erased is None]


def _print(found: Erasure, dry_run: bool) -> None:
    out = console()
    for event_id in found.erased:
        out.print(f"{'would erase' if dry_run else 'erased'}  {event_id}")
    for event_id in found.unfinished:
        out.print(f"not finished, left as it is  {event_id}", style="yellow")
    if not found.erased and not found.unfinished:
        out.print("No event is left to be erased.")
    if found.flow_run_ids:
        out.print("Prefect keeps the parameters of these runs; to delete them there:")
        for run_id in found.flow_run_ids:
            out.print(f"  prefect flow-run delete {run_id}")


def _document(found: Erasure, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "erased": list(found.erased),
        "unfinished": list(found.unfinished),
        "flow_runs": list(found.flow_run_ids),
    }
