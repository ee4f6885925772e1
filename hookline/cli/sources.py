"""`hookline sources`: list what `sources.yaml` declares, rotate a secret, send a signed test."""

from __future__ import annotations

import base64
import re
import secrets
import sys
from typing import Annotated, Any

import httpx
import orjson
from cyclopts import App, Parameter
from rich.text import Text

from hookline.cli.client import Gateway, GatewayError
from hookline.cli.development import environment, find_source, secret
from hookline.cli.output import Json, console, print_json, print_table
from hookline.cli.send import read_data
from hookline.cli.system import System, find_system
from hookline.errors import SourcesError
from hookline.event import now
from hookline.sources import Source, Sources, load_sources, standing
from hookline.sources.recipe import Key
from hookline.sources.samples import make_sample, sample_types, sign_sample

app = App(
    name="sources",
    help="List, reload and test sources, show or rotate a secret.\n\nExample: hookline sources ls",
)

app.command(secret, name="secret")

_NUMBERED = re.compile(r"(.*)_(\d+)")


@app.command(name="ls")
def ls(*, json: Json = False) -> None:
    """List the sources: their recipe, whether they are ready, and their address.

    A recipe is `verified` if it passes one of the provider's own examples, and `unverified` if it is based on
    documentation only. The list comes from the gateway; if none answers, it comes from the file and from
    the secrets in this shell's environment.

    Example: hookline sources ls
    """
    system = find_system()
    answer = _in_force(system)
    found = [{**facts, "address": f"{system.public_url}{facts['path']}"} for facts in answer["sources"]]
    if json:
        print_json({**answer, "sources": found})
        return
    print_table(("SOURCE", "RECIPE", "PROOF", "STATE", "TYPES", "ADDRESS"), [_row(facts) for facts in found])
    for facts in found:
        for fault in facts["faults"]:
            console().print(f"{facts['name']}: {fault}", style="yellow")
    if answer["error"]:
        console().print("The sources file is invalid; the previous sources stay in force:", style="red")
        console().print(answer["error"], style="red", markup=False)


@app.command(name="reload")
def reload(*, json: Json = False) -> None:
    """Reload the sources file in the gateway now, and print what changed.

    The gateway reloads it automatically within two seconds of a change. If the file is invalid, the previous
    sources stay in force, and this command prints the error and exits 1.

    Example: hookline sources reload
    """
    with Gateway(find_system()) as gateway:
        changed = gateway.post("/sources/reload", holds="sources")
    if json:
        print_json(changed)
        return
    for word in ("added", "removed", "changed"):
        if changed[word]:
            print(f"{word}: {', '.join(changed[word])}")
    if not any(changed[word] for word in ("added", "removed", "changed")):
        print(f"nothing changed: {', '.join(changed['sources']) or 'no sources'}")


@app.command(name="test")
def send_test(
    name: Annotated[str, Parameter(help="The source.")],
    *,
    event: Annotated[
        str | None,
        Parameter(
            name=("--event", "--kind"), help="The event, as the provider names it; by default the usual one."
        ),
    ] = None,
    data: Annotated[
        str | None, Parameter(help="Your own body: JSON, @FILE, or - for standard input.")
    ] = None,
    list_events: Annotated[
        bool, Parameter(name="--list", help="List the events that can be sent.", negative="")
    ] = False,
    json: Json = False,
) -> int:
    """Send the gateway a test event as the provider would, signed with the source's first secret.

    The events are examples in each provider's documented format. Exits 1 if the gateway does not accept it.

    Example: hookline sources test github --event push
    """
    system = find_system()
    source = find_source(_sources(system), name)
    if list_events:
        return _list_events(source, json)
    at = now()
    sample = make_sample(source, event, at, None if data is None else orjson.dumps(read_data(data)))
    path = f"/webhooks/{name}" + (f"/{source.tokens[0].text}" if source.tokens else "")
    headers = sign_sample(source, sample, at, source.url or f"{system.gateway}{path}")
    with Gateway(system) as gateway:
        answer = gateway.deliver(path, sample.body, headers)
    _print_answer(answer, json)
    return 0 if answer.is_success else 1


@app.command(name="rotate")
def rotate(name: Annotated[str, Parameter(help="The source.")], *, json: Json = False) -> None:
    """Generate a new secret or URL token, and print the steps to switch to it without losing a delivery.

    This changes nothing: secrets are in your environment or in mounted files, never in `sources.yaml`.

    Example: hookline sources rotate docker
    """
    system = find_system()
    plan = rotation(find_source(_sources(system), name), system)
    if json:
        print_json(plan)
        return
    out = console()
    for number, step in enumerate(plan["steps"], start=1):
        out.print(f"{number}. {step}")


def rotation(source: Source, system: System) -> dict[str, Any]:
    """Return a new secret for a source and the steps by which it takes over.

    Parameters
    ----------
    source: the source; its URL tokens are rotated where it has any, else its secrets.
    system: the one whose gateway has the source.

    Raises
    ------
    SourcesError: only the provider can make a new key.
    """
    kind = "tokens" if source.needs_token else "secrets"
    shared = [
        scheme
        for scheme in source.recipe.schemes
        if scheme.algorithm.needs_secret and not scheme.algorithm.public_key
    ]
    if kind == "secrets" and not shared:
        raise SourcesError(
            f"The key of `{source.name}` is its provider's: make a new one there, and put it before the old"
            " one in `secrets`."
        )
    there = source.tokens if kind == "tokens" else source.secrets
    known = [secret.origin for secret in there] or list(source.missing[:1])
    if not known:
        raise SourcesError(f"Source `{source.name}` has nothing that could be rotated.")
    old = known[0]
    new = _next_name(old)
    value = _new_secret(shared[0].key) if kind == "secrets" else secrets.token_urlsafe(32)
    written = f"[{_reference(new)}, {_reference(old)}]"
    where = "Set the environment variable" if new.isidentifier() else "Write into the file"
    address = f"{system.public_url}/webhooks/{source.name}/{value}"
    at_provider = (
        f"At the provider, replace the address by {address}"
        if kind == "tokens"
        else f"At the provider, replace the secret by {value}"
    )
    how = "Then restart the gateway." if new.isidentifier() else "The gateway reloads it automatically."
    steps = [
        f"{where} {new}: {value}",
        f"In {system.settings.sources}, at `{source.name}`, write {kind}: {written}. {how} Both are"
        " accepted now.",
        f"{at_provider}.",
        f"Check with `hookline sources test {source.name}`, and wait until the old one is no longer used.",
        f"Remove {old}, here and from {system.settings.sources}.",
    ]
    return {"source": source.name, "rotates": kind, "origin": new, "value": value, "steps": steps}


def _in_force(system: System) -> dict[str, Any]:
    try:
        with Gateway(system) as gateway:
            found: dict[str, Any] = gateway.get("/sources", holds="sources")
            return found
    except GatewayError as failed:
        if failed.status is not None:
            raise
        print(f"hookline: {failed} Showing the file as seen from this shell.", file=sys.stderr)
        return {"error": None, "sources": [standing(each, now()) for each in _sources(system).values()]}


def _sources(system: System) -> Sources:
    return load_sources(system.settings.sources, environment(system))


def _list_events(source: Source, json: bool) -> int:
    types = sample_types(source)
    if json:
        print_json({"events": [{"event": event, "type": kind} for event, kind in types.items()]})
    else:
        print_table(("EVENT", "TYPE"), list(types.items()))
    return 0


def _row(facts: dict[str, Any]) -> tuple[str | Text, ...]:
    state = Text(facts["state"], style="green" if facts["state"] == "ready" else "yellow")
    proof = "verified" if facts["verified"] else "unverified"
    return facts["name"], facts["recipe"], proof, state, facts["types"], facts["address"]


def _print_answer(answer: httpx.Response, json: bool) -> None:
    kind = answer.headers.get("content-type", "").partition(";")[0]
    document = answer.json() if kind.endswith("json") and answer.content else None
    if json:
        print_json(
            {"status": answer.status_code, "answer": document if document is not None else answer.text}
        )
    elif answer.is_success:
        tracked = document.get("id") if isinstance(document, dict) else None
        print(tracked or f"{answer.status_code}, as the provider expects it")
    else:
        problem = document if isinstance(document, dict) else {}
        console().print(f"refused ({answer.status_code}): {problem.get('detail', answer.text)}", style="red")


def _next_name(origin: str) -> str:
    """Return the name for what follows: `TOKEN` -> `TOKEN_2` -> `TOKEN_3`, and the same for files."""
    numbered = _NUMBERED.fullmatch(origin)
    return f"{numbered[1]}_{int(numbered[2]) + 1}" if numbered else f"{origin}_2"


def _reference(origin: str) -> str:
    return f"${{{origin}}}" if origin.isidentifier() else f"file:{origin}"


def _new_secret(key: Key) -> str:
    """Return a secret in the form that a recipe reads."""
    raw = secrets.token_bytes(32)
    return key.prefix + (base64.b64encode(raw).decode() if key.encoding == "base64" else raw.hex())
