"""Secrets: found in the environment or a mounted file, never in `sources.yaml` itself, never shown."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hookline.sources.recipe import Key

#: What a reference to a mounted file begins with.
IN_FILE = "file:"

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class LiteralSecret(ValueError):
    """A secret stands in the file in clear; the message says how to do it and never holds it."""

    def __init__(self) -> None:
        super().__init__(
            "holds a secret in clear; put it into an environment variable and write ${NAME}, "
            "or into a mounted file and write file:/run/secrets/name"
        )


class UnusableSecret(ValueError):
    """A secret's text cannot be made into a key; the message never holds the secret."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that was found.

    Parameters
    ----------
    origin: where it comes from, such as `GITHUB_WEBHOOK_SECRET`; safe to show.
    text: the secret itself.
    """

    origin: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What came of looking for secrets.

    Parameters
    ----------
    secrets: those that are there, in the order of the file.
    missing: variables and files that hold nothing.
    """

    secrets: tuple[Secret, ...] = ()
    missing: tuple[str, ...] = ()


def find_secrets(
    references: Sequence[str], environ: Mapping[str, str], folder: Path, *, public: bool = False
) -> Found:
    """Look up `${NAME}` in the environment and `file:PATH` in the file system.

    Parameters
    ----------
    references: as written in `sources.yaml`.
    environ: the environment.
    folder: where relative paths start.
    public: they are public keys, which may also stand there themselves.

    Raises
    ------
    LiteralSecret: one is neither.
    """
    secrets: list[Secret] = []
    missing: list[str] = []
    for number, reference in enumerate(references, start=1):
        variable = _VARIABLE.fullmatch(reference.strip())
        if variable is not None:
            origin, text = variable[1], environ.get(variable[1], "")
        elif reference.startswith(IN_FILE):
            origin = reference.removeprefix(IN_FILE)
            text = _read_file(folder / origin)
        elif public:
            origin, text = f"key {number}", reference
        else:
            raise LiteralSecret
        if text.strip():
            secrets.append(Secret(origin, text))
        else:
            missing.append(origin)
    return Found(tuple(secrets), tuple(missing))


def _read_file(path: Path) -> str:
    try:
        # Editors and `echo` end a file with a line feed that is no part of the secret.
        return path.read_text().rstrip("\r\n")
    except (OSError, ValueError):
        return ""


def make_key(secret: Secret, key: Key) -> bytes:
    """Return the key bytes of a secret.

    Parameters
    ----------
    secret: the secret.
    key: how its text becomes a key.

    Raises
    ------
    UnusableSecret: empty, or not written in the encoding.
    """
    text = secret.text.removeprefix(key.prefix)
    try:
        raw = DECODERS[key.encoding](text.encode())
    except (ValueError, binascii.Error):
        raise UnusableSecret(f"{secret.origin} is not {key.encoding}") from None
    if not raw:
        raise UnusableSecret(f"{secret.origin} is empty")
    return raw


def _strict_base64(text: bytes) -> bytes:
    raw = binascii.a2b_base64(text, strict_mode=True)
    if base64.b64encode(raw) != text:
        raise ValueError("not canonical base64")
    return raw


#: From the one canonical text to bytes; ValueError (or its child binascii.Error) for anything else.
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "text": bytes,
    "hex": binascii.unhexlify,
    "base64": _strict_base64,
}
