"""Statuses and states as badges: a word and a sign, so that nothing is said by colour alone. Pure."""

from __future__ import annotations

from markupsafe import Markup

#: Status or state -> tone (a class of the stylesheet) and sign.
_LOOKS: dict[str, tuple[str, str]] = {
    # Events.
    "accepted": ("wait", "○"),
    "pending": ("wait", "◔"),
    "dispatched": ("calm", "→"),
    "ignored": ("none", "∅"),
    "dead": ("bad", "✕"),
    # Dispatches.
    "held": ("wait", "‖"),
    "started": ("calm", "→"),
    "filtered": ("none", "∅"),
    "merged": ("calm", "⇉"),
    # Flow runs, as Prefect means them; GONE is a run that was deleted there.
    "scheduled": ("wait", "◷"),
    "running": ("busy", "▶"),
    "completed": ("good", "✓"),
    "failed": ("bad", "✕"),
    "crashed": ("bad", "✕"),
    "cancelling": ("wait", "⊘"),
    "cancelled": ("none", "⊘"),
    "paused": ("wait", "‖"),
    "gone": ("none", "?"),
    # Verdicts of triggers.
    "matched": ("good", "✓"),
    "disabled": ("none", "–"),
    "other type": ("none", "–"),
    # Sources.
    "ready": ("good", "✓"),
    "not ready": ("bad", "✕"),
    "retired": ("none", "–"),
}


def tone(state: str) -> str:
    """Return the class that a status or state has in the stylesheet."""
    return _LOOKS.get(state.lower(), ("none", ""))[0]


def badge(state: str | None, says: str | None = None) -> Markup:
    """Return a badge.

    Parameters
    ----------
    state: a status of ours or a state of Prefect's, in any case.
    says: what it reads, if not the state.
    """
    known = (state or "unknown").lower()
    look, sign = _LOOKS.get(known, ("none", "?"))
    return Markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>').format(
        look, sign, says or known.capitalize()
    )
