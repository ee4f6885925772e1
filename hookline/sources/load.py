"""Reading `deployments/sources.yaml`: every fault is named with its source and key before anything starts."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import yaml
from pydantic import ValidationError

from hookline.errors import SourcesError
from hookline.sources.entry import Entry
from hookline.sources.fetch import Fetch, fetch_guarded
from hookline.sources.handshake import HandshakeAnswer
from hookline.sources.mapping import TypeRule
from hookline.sources.pubsub import PubSubVerifier
from hookline.sources.recipe import Algorithm, Recipe, builtin, recipe_names
from hookline.sources.schema import Schema, SchemaError
from hookline.sources.secret import Found, LiteralSecret, find_secrets
from hookline.sources.sns import SnsVerifier
from hookline.sources.source import Source, dropped_headers
from hookline.sources.template import Template
from hookline.sources.verifiers import make_verifiers

RESERVED_PREFIXES = ("prefect.", "hookline.")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MARKED = re.compile(r"\$<([A-Za-z_][A-Za-z0-9_]*)>")


class Sources(Mapping[str, Source]):
    """The configured sources by name, in the order of the file."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sources)
        self._prefixes = tuple(source.prefix for source in self._sources.values())

    def __getitem__(self, name: str) -> Source:
        """Return the source of that name."""
        return self._sources[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._sources)

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self._sources)

    def __repr__(self) -> str:
        """Name the sources."""
        return f"Sources({', '.join(self._sources)})"

    def owner(self, type: str) -> Source | None:
        """Return the source that a type's prefix belongs to: nobody else may send such events."""
        if not type.startswith(self._prefixes):
            return None
        return next(each for each in self._sources.values() if type.startswith(each.prefix))


def load_sources(path: Path, environ: Mapping[str, str], fetch: Fetch = fetch_guarded) -> Sources:
    """Read the file that declares sources. A file that does not exist declares none.

    Parameters
    ----------
    path: the YAML file; paths in it are relative to its folder.
    environ: where `${NAME}` is looked up.
    fetch: how keys and certificates are fetched.

    Raises
    ------
    SourcesError: the file cannot be used; names the source and the key.
    """
    loader = _Loader(path, environ, fetch)
    sources = {name: loader.source(name, entry) for name, entry in _read(path).items()}
    prefixes = {source.prefix for source in sources.values()}
    return Sources(
        {
            name: replace(source, foreign=(*RESERVED_PREFIXES, *sorted(prefixes - {source.prefix})))
            for name, source in sources.items()
        }
    )


class _Loader:
    def __init__(self, path: Path, environ: Mapping[str, str], fetch: Fetch) -> None:
        self._path = path
        self._environ = environ
        self._fetch = fetch

    def source(self, name: str, raw: Any) -> Source:
        entry = self._entry(name, raw)
        recipe = self._recipe(name, entry)
        public = any(scheme.algorithm.public_key for scheme in recipe.schemes)
        secrets = self._found(name, "secrets", entry.secrets, public=public)
        tokens = self._found(name, "tokens", entry.tokens)
        verify_tokens = self._found(name, "verify_tokens", entry.verify_tokens)
        self._check_complete(name, entry, recipe)
        self._check_mapping(name, entry, recipe)
        type_rule = TypeRule(entry.type or recipe.type, name)
        if type_rule.prefix.startswith(RESERVED_PREFIXES):
            raise self._fault(name, "type", f"types that begin with {type_rule.prefix} are reserved")
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
            dedup_window=entry.dedup.window if entry.dedup else None,
            by_reference=entry.payload == "reference",
            schemas={kind: self._schema(name, kind, schema) for kind, schema in entry.schemas.items()},
            url=entry.url,
            sunset=entry.sunset,
            dropped=dropped_headers(recipe),
            fetch=self._fetch,
        )

    def _entry(self, name: str, raw: Any) -> Entry:
        if not _NAME.fullmatch(name) or f"{name}." in RESERVED_PREFIXES:
            raise self._fault(
                name, None, "names have small letters, digits, `-` and `_`, and are not reserved"
            )
        if not isinstance(raw, dict):
            raise self._fault(name, None, "an entry is a mapping with at least `recipe`")
        if "recipe" not in raw:
            raise self._fault(name, "recipe", f"is required; {_recipes()}")
        try:
            return Entry.model_validate(self._filled(name, raw))
        except ValidationError as wrong:
            raise self._invalid(name, wrong, known=Entry.model_fields) from None

    def _filled(self, name: str, raw: dict[str, Any]) -> dict[str, Any]:
        """Fill `${NAME}` into the keys that hold no secrets."""
        filled = dict(raw)
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
                raise self._fault(name, key, f"the environment variable {variable} is not set")
        return _VARIABLE.sub(lambda match: self._environ[match[1]], value)

    def _recipe(self, name: str, entry: Entry) -> Recipe:
        if isinstance(entry.recipe, str):
            try:
                return builtin(entry.recipe)
            except KeyError:
                raise self._fault(
                    name, "recipe", f"there is no recipe `{entry.recipe}`; {_recipes()}"
                ) from None
        try:
            return Recipe.model_validate({**entry.recipe, "verified": False})
        except ValidationError as wrong:
            raise self._invalid(name, wrong, within="recipe", known=Recipe.model_fields) from None

    def _found(self, name: str, key: str, references: Sequence[str], *, public: bool = False) -> Found:
        try:
            return find_secrets(references, self._environ, self._path.parent, public=public)
        except LiteralSecret as wrong:
            raise self._fault(name, key, str(wrong)) from None

    def _check_complete(self, name: str, entry: Entry, recipe: Recipe) -> None:
        algorithms = {scheme.algorithm for scheme in recipe.schemes}
        if Algorithm.SNS in algorithms and not entry.topics:
            raise self._fault(name, "topics", "is required: the ARNs of the SNS topics that may send")
        if Algorithm.PUBSUB in algorithms:
            for key in ("audience", "email"):
                if not getattr(entry, key):
                    raise self._fault(name, key, "is required: it is compared with the token of each push")
        if entry.secrets or algorithms & {Algorithm.SNS, Algorithm.PUBSUB}:
            return
        if Algorithm.URL_TOKEN not in algorithms:
            raise self._fault(name, "secrets", "is required; write [${NAME}] or [file:/run/secrets/name]")
        if not entry.tokens:
            raise self._fault(name, "tokens", "is required, as this provider signs nothing; write [${NAME}]")

    def _check_mapping(self, name: str, entry: Entry, recipe: Recipe) -> None:
        for key in ("type", "subject", "time", "source_id"):
            if getattr(entry, key) and recipe.cloudevents and not recipe.type:
                raise self._fault(name, key, "has no place here: a CloudEvent brings its own")

    def _schema(self, name: str, kind: str, schema: str | bool | dict[str, Any]) -> Schema:
        try:
            document = (
                orjson.loads((self._path.parent / schema).read_bytes()) if isinstance(schema, str) else schema
            )
            return Schema(document)
        except (OSError, orjson.JSONDecodeError, SchemaError) as wrong:
            raise self._fault(name, f"schemas.{kind}", str(wrong)) from None

    def _invalid(
        self, name: str, wrong: ValidationError, *, known: Mapping[str, Any], within: str | None = None
    ) -> SourcesError:
        # The error's input is left out on purpose: it may be a secret that somebody wrote in clear.
        error = wrong.errors(include_input=False, include_url=False)[0]
        parts = ([within] if within else []) + [str(part) for part in error["loc"]]
        reason = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            reason = (
                f"is not known here; there are {', '.join(known)}"
                if len(error["loc"]) == 1
                else "is not known here"
            )
        return self._fault(name, ".".join(parts), reason)

    def _fault(self, name: str, key: str | None, reason: str) -> SourcesError:
        place = f"source `{name}`" + (f", key `{key}`" if key else "")
        return SourcesError(f"{self._path}: {place}: {reason}.")


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that takes a key which is written twice for a mistake."""


def _mapping_without_repeats(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            continue
        if key_node.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key `{key_node.value}` is there twice", key_node.start_mark
            )
        seen.add(key_node.value)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_repeats)


def _read(path: Path) -> dict[str, Any]:
    try:
        # YAML does not allow `${NAME}` bare within brackets, where everybody writes it.
        text = _VARIABLE.sub(r"$<\1>", path.read_text())
        document = _restored(yaml.load(text, _StrictLoader))  # noqa: S506 # derives from SafeLoader
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as wrong:
        raise SourcesError(f"{path} cannot be read: {' '.join(str(wrong).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or set(document) != {"sources"}:
        raise SourcesError(f"{path}: at the top there is the key `sources`, and nothing else.")
    entries = document["sources"]
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise SourcesError(f"{path}: `sources` is a mapping from names to entries.")
    return {str(name): entry for name, entry in entries.items()}


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


def _recipes() -> str:
    return f"built in are {', '.join(recipe_names())}; or write one out here"
