"""Who may knock: sources, the recipes that verify and name their events, and the file that declares them."""

from hookline.knock import Handshake, Headers, Knock, Reply
from hookline.sources.entry import Rate
from hookline.sources.load import load_sources
from hookline.sources.recipe import Recipe, builtin, recipe_names
from hookline.sources.registry import Change, Registry
from hookline.sources.sign import sign
from hookline.sources.source import Source, Sources
from hookline.sources.standing import standing

__all__ = [
    "Change",
    "Handshake",
    "Headers",
    "Knock",
    "Rate",
    "Recipe",
    "Registry",
    "Reply",
    "Source",
    "Sources",
    "builtin",
    "load_sources",
    "recipe_names",
    "sign",
    "standing",
]
