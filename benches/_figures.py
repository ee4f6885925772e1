"""Figures of the benches: percentiles, tables to be pasted, and a plot of distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least that share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ms(seconds: float) -> str:
    """Render a duration for people: milliseconds below ten seconds."""
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 860, 210, 30, 64, 56
_DECADES = (0.01, 0.1, 1.0, 10.0, 100.0)
_STYLE = """\
text{font:13px system-ui,sans-serif;fill:#1f2328}.small{font-size:11px;fill:#59636e}
.title{font-size:15px;font-weight:600}.dot{fill:#0969da;fill-opacity:.28}.first{fill:#1a7f37;fill-opacity:.34}
.grid{stroke:#d1d9e0}.fine{stroke:#d1d9e0;stroke-opacity:.4}.mark{stroke:#1f2328;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.dot{fill:#58a6ff;fill-opacity:.34}
.first{fill:#3fb950;fill-opacity:.4}.grid{stroke:#3d444d}.fine{stroke:#3d444d;stroke-opacity:.5}
.mark{stroke:#e6edf3}}"""


def plot(path: Path, title: str, note: str, rows: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Draw each row's durations as dots on a logarithmic scale, with marks at the median and at p95.

    Parameters
    ----------
    path: the SVG that is written.
    title: what is measured, of what to what.
    note: how it was measured.
    rows: names, and durations in seconds; the first row is set apart by its colour.
    """
    longest = max(max(values) for _, values in rows)
    last = next((decade for decade in _DECADES if decade >= longest), _DECADES[-1])
    bottom = _TOP + _ROW * len(rows)
    parts = [_axis(value, label, last, bottom) for value, label in _ticks(last)]
    for index, (name, values) in enumerate(rows):
        parts.append(_row(name, values, last, _TOP + _ROW * index, "first" if index == 0 else "dot"))
    height = bottom + 58
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
        f' aria-label="{escape(title)}"><style>{_STYLE}</style>'
        f'<text class="title" x="16" y="26">{escape(title)}</text>'
    )
    foot = f'<text class="small" x="16" y="{height - 12}">{escape(note)}</text></svg>\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "".join(parts) + foot)


def _ticks(last: float) -> list[tuple[float, str]]:
    ticks: list[tuple[float, str]] = []
    for decade in _DECADES:
        if decade > last:
            break
        ticks.append((decade, f"{decade * 1000:.0f} ms" if decade < 1 else f"{decade:.0f} s"))
        if decade < last:
            ticks += [(decade * step, "") for step in range(2, 10)]
    return ticks


def _x(seconds: float, last: float) -> float:
    first = math.log10(_DECADES[0])
    share = (math.log10(max(seconds, _DECADES[0])) - first) / (math.log10(last) - first)
    return _LEFT + min(share, 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _axis(value: float, label: str, last: float, bottom: float) -> str:
    x = _x(value, last)
    kind = "grid" if label else "fine"
    line = f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{bottom}"/>'
    text = f'<text class="small" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{label}</text>'
    return line + (text if label else "")


def _row(name: str, values: Sequence[float], last: float, top: float, kind: str) -> str:
    middle = top + _ROW * 0.38
    # The golden ratio spreads the dots evenly without a seed.
    dots = "".join(
        f'<circle class="{kind}" r="3" cx="{_x(value, last):.1f}"'
        f' cy="{middle + ((index * 0.618034) % 1 - 0.5) * 26:.1f}"/>'
        for index, value in enumerate(values)
    )
    p50, p95 = percentile(values, 0.5), percentile(values, 0.95)
    marks = "".join(
        f'<line class="mark" x1="{_x(each, last):.1f}" x2="{_x(each, last):.1f}"'
        f' y1="{middle - size}" y2="{middle + size}"/>'
        for each, size in ((p50, 18), (p95, 10))
    )
    text = (
        f'<text x="16" y="{middle - 2:.1f}">{escape(name)}</text>'
        f'<text class="small" x="16" y="{middle + 15:.1f}">p50 {ms(p50)}, p95 {ms(p95)}</text>'
    )
    return dots + marks + text
