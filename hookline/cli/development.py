"""`hookline sources secret`: the secret for development that `up` has made up for a source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated

from cyclopts import Parameter

from hookline.cli.client import Gateway, GatewayError
from hookline.cli.system import System, find_system
from hookline.errors import HooklineError
from hookline.sources import Source, Sources, load_sources
from hookline.sources.development import known_secrets


def secret(name: Annotated[str, Parameter(help="The source.")]) -> None:
    """Print the development secret, or URL token, that `hookline up` generated for a source.

    Only available while `up` runs in this folder on the loopback and the source's own secret is not set;
    secrets that you have set yourself are never shown.

    Example: GITHUB_WEBHOOK_SECRET=$(hookline sources secret github)
    """
    system = find_system()
    source = find_source(load_sources(system.settings.sources, environment(system)), name)
    print(development_secret(system, source))


def development_secret(system: System, source: Source) -> str:
    """Return a source's development secret, or its token where it has no secret.

    Raises
    ------
    HooklineError: it has none; says why.
    """
    running = system.running
    if running is None:
        raise HooklineError(system.missing or f"Nothing runs on {system.settings.data}; start `hookline up`.")
    wanted = [*(each.origin for each in (*source.secrets, *source.tokens)), *source.missing]
    made = made_up(system)
    for variable in wanted:
        if variable in made:
            return made[variable]
    if running["command"] != "hookline up":
        why = f"only `hookline up` makes secrets for development, and here runs `{running['command']}`"
    elif not running.get("loopback"):
        why = "the gateway can be reached from elsewhere, where secrets for development would be a hole"
    else:
        why = f"{' and '.join(wanted) or 'it'} was set where `up` was started, or is for the provider to make"
    raise HooklineError(f"Source `{source.name}` has no secret for development: {why}.")


def find_source(sources: Sources, name: str) -> Source:
    """Return the source of a name.

    Raises
    ------
    HooklineError: there is none; names those that there are.
    """
    try:
        return sources[name]
    except KeyError:
        there = ", ".join(sources) or "none"
        raise HooklineError(f"There is no source `{name}`; there is {there}.") from None


def environment(system: System) -> Mapping[str, str]:
    """Return this shell's variables, with the secrets that the gateway of this folder goes by."""
    if system.instance is None:
        # An address was given: what that gateway goes by is this shell's to know.
        return {**made_up(system), **os.environ}
    return {**os.environ, **made_up(system)}


def made_up(system: System) -> dict[str, str]:
    """Return the development secrets that the running gateway was given."""
    known = known_secrets(system.settings.data)
    return {name: known[name] for name in _names_of_made_up(system) if name in known}


def _names_of_made_up(system: System) -> Sequence[str]:
    """Return the variables; the gateway knows of sources that were added since it was started."""
    if not known_secrets(system.settings.data):
        return ()
    try:
        with Gateway(system) as gateway:
            names: list[str] = gateway.get("/sources", holds="development")["development"]
            return names
    except GatewayError:
        return list((system.running or {}).get("secrets", ()))
