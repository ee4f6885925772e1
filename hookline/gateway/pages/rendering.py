"""From a template and its values to a page: everything escaped, with headers that let nothing else run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from hookline.event import now, rfc3339
from hookline.gateway.pages import text
from hookline.gateway.pages.assets import address
from hookline.gateway.pages.states import badge
from hookline.sources import Reply

#: Nothing runs, loads or is sent anywhere but to and from ourselves; a payload that got through every
#: escape would still be text.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = (
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    # Not `no-referrer`, with which browsers hide the origin of our own forms from us.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    # Payloads do not belong in a browser's cache.
    ("cache-control", "no-store"),
    ("vary", "accept, cookie"),
)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return a page.

    Parameters
    ----------
    template: name of the template, without its ending.
    values: what it shows; all text in it is escaped.
    """
    return _templates.get_template(f"{template}.html").render(values)


def render_live(template: str, values: Mapping[str, Any]) -> str:
    """Return the part of a page that changes while it is looked at: the template's block `live`."""
    page = _templates.get_template(f"{template}.html")
    return "".join(page.blocks["live"](page.new_context(dict(values))))


def page_reply(html: str, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Reply:
    """Return a page as an answer."""
    return Reply(status, (*HEADERS, *headers), html.encode())


def _finalize(value: Any) -> Any:
    """Make what deceives visible, in every text that a template shows."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return text.visible(value)
    return value


def _when(moment: datetime | None, *, with_day: bool = False) -> Markup:
    """Return a time as an element: its clock time, and how long ago it was."""
    if moment is None:
        return Markup('<span class="none">–</span>')
    written, current = rfc3339(moment), now()
    lead = f"{text.day(moment)} " if with_day or text.day(moment) != text.day(current) else ""
    return Markup('<time class="when" datetime="{0}" title="{0}">{1}{2}</time>').format(
        written, lead, text.clock(moment)
    )


def _ago(moment: datetime) -> Markup:
    return Markup('<time class="ago" datetime="{}">{}</time>').format(
        rfc3339(moment), text.ago(moment, now())
    )


def _short(identifier: str) -> Markup:
    """Return an id with its end brought out: ids of one moment differ only there."""
    return Markup('<span class="id">{}<b>{}</b></span>').format(escape(identifier[:-8]), identifier[-8:])


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: dict[str, Callable[..., Any]] = {
        "when": _when,
        "ago": _ago,
        "took": text.took,
        "size": text.size,
        "count": text.count,
        "short": _short,
        "badge": badge,
        "quoted": lambda words: quote(words, safe=""),
    }
    environment.filters.update(filters)
    environment.globals["asset"] = address
    # Not imported by the templates: a block that is rendered by itself does not see their imports.
    environment.globals["parts"] = environment.get_template("parts.html").module
    return environment


_templates = _environment()
