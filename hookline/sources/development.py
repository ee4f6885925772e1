"""Secrets for development: made up for sources whose own are not set, for senders on this machine."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

import orjson

from hookline.private_files import writing
from hookline.sources.recipe import Algorithm
from hookline.sources.secret import Secret
from hookline.sources.source import Source, Sources
from hookline.sources.verifiers import scheme_of

SECRETS = "development-secrets.json"
#: HTTP Basic wants a user too.
_USER = "hookline:"


def missing_secrets(sources: Sources, folder: Path) -> dict[str, str]:
    """Return a development secret for each variable that the sources want and that is not set.

    Public keys are not made up, since nobody could sign for them, and neither are files.

    Parameters
    ----------
    sources: as they were loaded.
    folder: the data folder, which keeps what was made up.
    """
    wanted = {
        name: _USER if _is_basic(source) else ""
        for source in sources.values()
        if not any(scheme.algorithm.public_key for scheme in source.recipe.schemes)
        for name in source.missing
        if name.isidentifier()
    }
    return development_secrets(folder, wanted)


def development_secrets(folder: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return a secret for each name, made up on first use and the same ever after.

    The file can be read by its owner alone. These secrets are good for recipes of every encoding: hex digits
    are also base64, and a text.

    Parameters
    ----------
    wanted: what the secret of each name begins with.
    """
    known = known_secrets(folder)
    made = {
        name: known[name] if name in known and known[name].startswith(lead) else lead + secrets.token_hex(32)
        for name, lead in wanted.items()
    }
    if made.items() - known.items():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / SECRETS, {**known, **made})
    return made


def known_secrets(folder: Path) -> dict[str, str]:
    """Return the development secrets that were made in the folder."""
    try:
        found = orjson.loads((folder / SECRETS).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_basic(source: Source) -> bool:
    scheme = scheme_of(source.recipe, Secret("", "hexadecimal digits"))
    return scheme is not None and scheme.algorithm is Algorithm.BASIC


def _write(path: Path, document: Mapping[str, str]) -> None:
    """Replace the file at once, for its owner's eyes; `up` and its gateway may both be at it."""
    with writing(path):
        handle, draft = tempfile.mkstemp(prefix=path.name, dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
        Path(draft).replace(path)
