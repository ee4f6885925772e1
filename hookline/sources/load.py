"""Reading `deployments/sources.yaml`: every fault is named with its place before anything starts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import orjson
from pydantic import BaseModel, ValidationError

from hookline.errors import SourcesError
from hookline.faults import Fault, Place, in_order
from hookline.nearest import nearest
from hookline.sources.entry import Entry
from hookline.sources.fetch import Fetch, fetch_guarded
from hookline.sources.handshake import HandshakeAnswer
from hookline.sources.mapping import TypeRule
from hookline.sources.pubsub import PubSubVerifier
from hookline.sources.recipe import Algorithm, Recipe, Scheme, builtin, recipe_names
from hookline.sources.replays import SHORT_WINDOW, default_window
from hookline.sources.schema import Schema, SchemaError
from hookline.sources.secret import IN_FILE, Found, LiteralSecret, find_secrets
from hookline.sources.sns import SnsVerifier
from hookline.sources.source import Source, Sources, dropped_headers
from hookline.sources.template import Template
from hookline.sources.verifiers import make_verifiers
from hookline.sources.watched import Files, stamp
from hookline.yaml_text import Document, YamlFault, read_yaml

RESERVED_PREFIXES = ("prefect.", "hookline.")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MARKED = re.compile(r"\$<([A-Za-z_][A-Za-z0-9_]*)>")


def load_sources(
    path: Path, environ: Mapping[str, str], fetch: Fetch = fetch_guarded, *, files: Files | None = None
) -> Sources:
    """Read the file that declares sources. A file that does not exist declares none.

    Parameters
    ----------
    path: the YAML file; paths in it are relative to its folder.
    environ: where `${NAME}` is looked up.
    fetch: how keys and certificates are fetched.
    files: is given every file that was looked at, with its state from before.

    Raises
    ------
    SourcesError: the file cannot be used; names every fault with its place, source and key.
    """
    loader = _Loader(path, environ, fetch, files=files)
    sources = loader.sources()
    if loader.faults:
        raise SourcesError(*in_order(loader.faults))
    prefixes = {source.prefix for source in sources.values()}
    return Sources(
        {
            name: replace(source, foreign=(*RESERVED_PREFIXES, *sorted(prefixes - {source.prefix})))
            for name, source in sources.items()
        }
    )


def check_sources(path: Path, environ: Mapping[str, str]) -> list[Fault]:
    """Return all that is wrong with the file that declares sources, in the order of the file.

    What is not set in this environment is a warning: the gateway's is another one.
    """
    loader = _Loader(path, environ, fetch_guarded, unset_is_fatal=False)
    loader.sources()
    return in_order(loader.faults)


class _Loader:
    """Reads one file and collects what is wrong with it.

    Parameters
    ----------
    path, environ, fetch, files: as for `load_sources`.
    unset_is_fatal: a variable that is not set is an error where the source cannot do without it.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        fetch: Fetch,
        *,
        files: Files | None = None,
        unset_is_fatal: bool = True,
    ) -> None:
        self.faults: list[Fault] = []
        self._path = path
        self._environ = environ
        self._fetch = fetch
        self._files = {} if files is None else files
        self._unset_is_fatal = unset_is_fatal
        self._document = Document(None, None)

    def sources(self) -> dict[str, Source]:
        """Return the sources that can be used; `faults` says what is wrong with the others."""
        entries = self._entries()
        read = {str(name): self._source(str(name), raw) for name, raw in entries.items()}
        return {name: source for name, source in read.items() if source is not None}

    def _watch(self, path: Path) -> Path:
        # Before it is read: what changes while it is read is seen later.
        self._files.setdefault(path, stamp(path))
        return path

    def _entries(self) -> Mapping[Any, Any]:
        self._watch(self._path)
        try:
            # YAML does not allow `${NAME}` bare within brackets, where everybody writes it.
            self._document = read_yaml(_VARIABLE.sub(r"$<\1>", self._path.read_text(encoding="utf-8-sig")))
        except FileNotFoundError:
            return {}
        except YamlFault as wrong:
            self.faults.append(wrong.fault(str(self._path)))
            return {}
        except OSError as wrong:
            self._wrong((), f"cannot be read: {wrong.strerror}")
            return {}
        except UnicodeDecodeError:
            self._wrong((), "cannot be read: it is not UTF-8")
            return {}
        document = _restored(self._document.value)
        if document is None:
            return {}
        if not isinstance(document, dict):
            self._wrong((), "at the top there is the key `sources`, and nothing else")
            return {}
        for key in document:
            # Where a file keeps its anchors.
            if key != "sources" and not str(key).startswith("x-"):
                self._wrong((key,), f"at the top there is the key `sources`, and not `{key}`", of_key=True)
        entries = document.get("sources")
        if not isinstance(entries, dict | None):
            self._wrong(("sources",), "`sources` is a mapping from names to entries")
            return {}
        return entries or {}

    def _source(self, name: str, raw: Any) -> Source | None:
        before = len(self.faults)
        entry, recipe = self._entry(name, raw), self._recipe(name, raw)
        if entry is None or recipe is None:
            return None
        public = any(scheme.algorithm.public_key for scheme in recipe.schemes)
        secrets = self._found(name, "secrets", entry.secrets, public=public)
        tokens = self._found(name, "tokens", entry.tokens)
        verify_tokens = self._found(name, "verify_tokens", entry.verify_tokens)
        self._check_complete(name, entry, recipe)
        self._check_mapping(name, entry, recipe)
        type_rule = TypeRule(entry.type or recipe.type, name)
        if type_rule.prefix.startswith(RESERVED_PREFIXES):
            self._fault(name, ("type",), f"types that begin with {type_rule.prefix} are reserved")
        schemas = {
            kind: compiled
            for kind, schema in entry.schemas.items()
            if (compiled := self._schema(name, kind, schema)) is not None
        }
        if any(not fault.warning for fault in self.faults[before:]):
            return None
        verifiers, unusable = make_verifiers(
            recipe,
            secrets.secrets,
            topics=entry.topics,
            audience=entry.audience,
            email=entry.email,
            # A source whose secret is missing must not be let in by its URL token alone.
            url_token=not entry.secrets,
            fetch=self._fetch,
        )
        return Source(
            name=name,
            recipe_name=entry.recipe if isinstance(entry.recipe, str) else "inline",
            recipe=recipe,
            type_rule=type_rule,
            subject=_template(entry.subject or recipe.subject),
            time=_template(entry.time or recipe.time),
            source_id=_template(entry.source_id or recipe.id),
            signed_id=_template(recipe.id),
            verifiers=tuple(verifiers),
            preparing=tuple(each for each in verifiers if isinstance(each, SnsVerifier | PubSubVerifier)),
            handshakes=tuple(HandshakeAnswer(rule, verify_tokens.secrets) for rule in recipe.handshakes),
            secrets=secrets.secrets,
            tokens=tokens.secrets,
            needs_token=bool(entry.tokens),
            missing=(*secrets.missing, *tokens.missing, *verify_tokens.missing),
            unusable=tuple(unusable),
            body_limit=entry.body_limit,
            rate=entry.rate,
            dedup_window=_dedup_window(entry, recipe),
            by_reference=entry.payload == "reference",
            schemas=schemas,
            url=entry.url,
            sunset=entry.sunset,
            dropped=dropped_headers(recipe),
            fetch=self._fetch,
            made_of=(
                entry, recipe, secrets, tokens, verify_tokens,
                {kind: schema.document for kind, schema in schemas.items()},
            ),
        )  # fmt: skip

    def _entry(self, name: str, raw: Any) -> Entry | None:
        if not _NAME.fullmatch(name) or f"{name}." in RESERVED_PREFIXES:
            reason = "names have small letters, digits, `-` and `_`, and are not reserved"
            self._fault(name, (), reason, of_key=True)
        if not isinstance(raw, dict):
            self._fault(name, (), "an entry is a mapping with at least `recipe`")
            return None
        try:
            return Entry.model_validate(self._filled(name, raw))
        except ValidationError as wrong:
            self._invalid(name, wrong, Entry)
            return None

    def _filled(self, name: str, raw: dict[str, Any]) -> dict[str, Any]:
        """Fill `${NAME}` into the keys that hold no secrets."""
        filled = {key: value for key, value in raw.items() if not str(key).startswith("x-")}
        for key in ("url", "audience", "email", "topics"):
            if key in raw:
                filled[key] = self._fill(name, key, raw[key])
        return filled

    def _fill(self, name: str, key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._fill(name, key, each) for each in value]
        if not isinstance(value, str):
            return value
        for variable in _VARIABLE.findall(value):
            if not self._environ.get(variable):
                reason = f"the environment variable {variable} is not set"
                self._fault(name, (key,), reason, warning=not self._unset_is_fatal)
                # Good enough to check the rest of the entry.
                return "https://unset"
        return _VARIABLE.sub(lambda match: self._environ[match[1]], value)

    def _recipe(self, name: str, raw: Any) -> Recipe | None:
        match raw.get("recipe") if isinstance(raw, dict) else None:
            case str(wanted):
                try:
                    return builtin(wanted)
                except KeyError:
                    reason = f"there is no recipe `{wanted}`; {_recipes_like(wanted)}"
                    self._fault(name, ("recipe",), reason)
            case dict(written):
                try:
                    return Recipe.model_validate({**written, "verified": False})
                except ValidationError as wrong:
                    self._invalid(name, wrong, Recipe, within="recipe")
            case _:
                pass
        return None

    def _found(self, name: str, key: str, references: Sequence[str], *, public: bool = False) -> Found:
        for reference in references:
            if reference.startswith(IN_FILE):
                self._watch(self._path.parent / reference.removeprefix(IN_FILE))
        try:
            found = find_secrets(references, self._environ, self._path.parent, public=public)
        except LiteralSecret as wrong:
            self._fault(name, (key,), str(wrong))
            return Found()
        if not self._unset_is_fatal:
            for origin in found.missing:
                self._fault(name, (key,), f"{origin} is not set here", warning=True)
        return found

    def _check_complete(self, name: str, entry: Entry, recipe: Recipe) -> None:
        algorithms = {scheme.algorithm for scheme in recipe.schemes}
        if Algorithm.SNS in algorithms and not entry.topics:
            self._fault(name, ("topics",), "is required: the ARNs of the SNS topics that may send")
        if Algorithm.PUBSUB in algorithms:
            for key in ("audience", "email"):
                if not getattr(entry, key):
                    self._fault(name, (key,), "is required: it is compared with the token of each push")
        self._check_useful(name, entry, recipe, algorithms)
        if entry.secrets or algorithms & {Algorithm.SNS, Algorithm.PUBSUB}:
            return
        if Algorithm.URL_TOKEN not in algorithms:
            self._fault(name, ("secrets",), "is required; write [${NAME}] or [file:/run/secrets/name]")
        elif not entry.tokens:
            self._fault(name, ("tokens",), "is required, as this provider signs nothing; write [${NAME}]")

    def _check_useful(self, name: str, entry: Entry, recipe: Recipe, algorithms: set[Algorithm]) -> None:
        """Name what is written and that no request is ever compared with."""
        if entry.secrets and not any(algorithm.needs_secret for algorithm in algorithms):
            instead = "; write `tokens`" if Algorithm.URL_TOKEN in algorithms else ""
            self._fault(name, ("secrets",), f"are of no use: this provider signs with none{instead}")
        compared = {
            "topics": Algorithm.SNS in algorithms,
            "audience": Algorithm.PUBSUB in algorithms,
            "email": Algorithm.PUBSUB in algorithms,
            "verify_tokens": any(rule.match.verify_token for rule in recipe.handshakes),
        }
        for key, used in compared.items():
            if getattr(entry, key) and not used and not self._unset_is_fatal:
                reason = "has no effect: nothing that this provider sends is compared with it"
                self._fault(name, (key,), reason, of_key=True, warning=True)

    def _check_mapping(self, name: str, entry: Entry, recipe: Recipe) -> None:
        for key in ("type", "subject", "time", "source_id"):
            if getattr(entry, key) and recipe.cloudevents and not recipe.type:
                self._fault(name, (key,), "has no place here: a CloudEvent brings its own")

    def _schema(self, name: str, kind: str, schema: str | bool | dict[str, Any]) -> Schema | None:
        try:
            document = (
                orjson.loads(self._watch(self._path.parent / schema).read_bytes())
                if isinstance(schema, str)
                else schema
            )
            return Schema(document)
        except OSError as wrong:
            why = f"{self._path.parent / str(schema)} cannot be read ({wrong.strerror})"
            self._fault(name, ("schemas", kind), why)
            return None
        except (orjson.JSONDecodeError, SchemaError) as wrong:
            self._fault(name, ("schemas", kind), str(wrong))
            return None

    def _invalid(
        self, name: str, wrong: ValidationError, model: type[BaseModel], *, within: str | None = None
    ) -> None:
        path: tuple[str | int, ...] = (within,) if within else ()
        places: set[Place] = set()
        # The error's input is left out on purpose: it may be a secret that somebody wrote in clear.
        errors = wrong.errors(include_input=False, include_url=False)
        for error in errors:
            # "Too few schemes", where the only one could not be read.
            if any(_within(other["loc"], error["loc"]) for other in errors):
                continue
            unknown = error["type"] == "extra_forbidden"
            reason = error["msg"].removeprefix("Value error, ")
            if unknown:
                reason = f"is not known here; {_keys_like(error['loc'], model)}"
            elif error["type"] == "missing":
                reason = "is required"
            parts = (*path, *error["loc"])
            place = self._place(name, parts, of_key=unknown)
            # A value that may be one of several kinds is wrong in as many ways; one says enough.
            if place not in places or error["type"] == "missing":
                self._fault(name, parts, reason, of_key=unknown)
            places.add(place)

    def _fault(
        self,
        name: str,
        parts: tuple[str | int, ...],
        reason: str,
        *,
        of_key: bool = False,
        warning: bool = False,
    ) -> None:
        parts = self._as_written(name, parts)
        key = f", key `{'.'.join(str(part) for part in parts)}`" if parts else ""
        place = self._place(name, parts, of_key=of_key)
        message = f"source `{name}`{key}: {reason}" + ("" if reason.endswith((".", "?")) else ".")
        self.faults.append(Fault(str(self._path), place, message, warning))

    def _as_written(self, name: str, parts: tuple[str | int, ...]) -> tuple[str | int, ...]:
        # A recipe with one scheme has that scheme's keys at its top.
        recipe = ("sources", name, "recipe")
        several = self._document.key(*recipe, "schemes") != self._document.at(*recipe)
        return parts if several or parts[:3] != ("recipe", "schemes", 0) else ("recipe", *parts[3:])

    def _place(self, name: str, parts: tuple[str | int, ...], *, of_key: bool) -> Place:
        parts = self._as_written(name, parts)
        find = self._document.key if of_key or not parts else self._document.at
        return find("sources", name, *parts)

    def _wrong(self, path: tuple[str, ...], reason: str, *, of_key: bool = False) -> None:
        place = (self._document.key if of_key else self._document.at)(*path) if path else None
        self.faults.append(Fault(str(self._path), place, f"{reason}."))


def _restored(value: Any) -> Any:
    if isinstance(value, str):
        return _MARKED.sub(r"${\1}", value)
    if isinstance(value, list):
        return [_restored(each) for each in value]
    if isinstance(value, dict):
        return {key: _restored(each) for key, each in value.items()}
    return value


def _template(text: str | None) -> Template | None:
    return Template(text) if text else None


def _dedup_window(entry: Entry, recipe: Recipe) -> timedelta | None:
    usual = default_window(recipe, entry.source_id or recipe.id)
    if entry.dedup is None:
        return usual
    return (entry.dedup.window or usual or SHORT_WINDOW) if entry.dedup.body else None


def _recipes_like(name: str) -> str:
    names = recipe_names()
    alike = dict.fromkeys(
        [
            *difflib.get_close_matches(name.lower(), names, n=3),
            *(each for each in names if len(name) > 2 and name.lower() in each),
        ]
    )
    near = f"did you mean {' or '.join(list(alike)[:3])}? " if alike else ""
    return f"{near}docs/sources.md has all of them, or write one out here"


def _keys_like(loc: tuple[str | int, ...], model: type[BaseModel]) -> str:
    """Say which keys there are where one is not known: the nearest, or all of them."""
    for part in loc[:-1]:
        inner = _model_within(model.model_fields[part].annotation) if part in model.model_fields else None
        model = inner or model
    known = [field.alias or name for name, field in model.model_fields.items()]
    if model is Recipe:
        known += Scheme.model_fields
    meant = nearest(str(loc[-1]), known)
    return f"did you mean `{meant}`?" if meant else f"there are {', '.join(known)}"


def _within(loc: tuple[str | int, ...], outer: tuple[str | int, ...]) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


def _model_within(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field's type is made of: `Key`, `Signature | None`, `tuple[Scheme, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_within, get_args(annotation))), None)
