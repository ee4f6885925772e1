"""A lineage graph as a drawing: boxes and curves for the template's SVG. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from hookline.gateway.pages import text
from hookline.gateway.pages.family import Family, Member, length
from hookline.gateway.pages.layout import Size, lay_out
from hookline.gateway.pages.states import tone
from hookline.lineage import Kind, Node

SIZE = Size()
#: Room around the drawing, for the outline of a node that has the focus.
MARGIN = 6.0
#: Characters that fit into a box, in each of its two lines.
TITLE_CHARACTERS = 21
LINE_CHARACTERS = 27

KINDS = {
    Kind.EVENT: "Event",
    Kind.FLOW_RUN: "Flow run",
    Kind.ASSET: "Asset",
    Kind.DISPATCH: "Dispatch",
    Kind.TASK_RUN: "Task run",
    Kind.ARTIFACT: "Artifact",
}


@dataclass(frozen=True, slots=True)
class Box:
    """A member as it is drawn.

    Parameters
    ----------
    x, y: its left upper corner.
    tone: of its state; a class of the stylesheet.
    title, line: its two lines, cut to fit.
    says: all of it, for those who listen and for the pointer.
    href: where it leads.
    """

    member: Member
    x: float
    y: float
    tone: str
    title: str
    line: str
    says: str
    href: str
    is_root: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """An edge as it is drawn: an SVG path, and what the edge says."""

    d: str
    says: str


@dataclass(frozen=True, slots=True)
class Picture:
    """The drawing."""

    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]
    width: float
    height: float


def draw(drawn: Family, run_url: Callable[[str], str]) -> Picture:
    """Return the drawing of a graph.

    Parameters
    ----------
    run_url: gives the address of a flow run's page in the Prefect UI.
    """
    words: dict[tuple[str, str], list[str]] = {}
    for source, target, says in drawn.edges:
        words.setdefault((source, target), []).append(says)
    layout = lay_out([member.key for member in drawn.members], words, SIZE)
    boxes = tuple(
        _box(member, layout.places[member.key], member.key == drawn.root, run_url) for member in drawn.members
    )
    curves = tuple(Curve(_curve(points), ", ".join(words[edge])) for edge, points in layout.paths.items())
    return Picture(boxes, curves, layout.width + 2 * MARGIN, layout.height + 2 * MARGIN)


def _box(member: Member, place: tuple[float, float], is_root: bool, run_url: Callable[[str], str]) -> Box:
    count = len(member.nodes)
    states = ", ".join(state if number == count else f"{number} {state}" for state, number in member.states)
    took = length(member.first) if count == 1 else None
    line = " · ".join(part for part in (states, text.took(took) if took is not None else "") if part)
    title = member.title if count == 1 else f"{count} × {member.title}"
    says = f"{KINDS[member.first.kind]} {title}" + (f", {line}" if line else "")
    worst = next((state for state, _ in member.states if tone(state) == "bad"), None)
    look = tone(worst or (member.states[0][0] if member.states else ""))
    return Box(
        member,
        round(place[0] + MARGIN, 1),
        round(place[1] + MARGIN, 1),
        look,
        _cut(title, TITLE_CHARACTERS),
        _cut(line or KINDS[member.first.kind].lower(), LINE_CHARACTERS),
        text.visible(says),
        address(member.first, run_url),
        is_root,
    )


def address(node: Node, run_url: Callable[[str], str]) -> str:
    """Return where a node leads: to its page here, or a run to its page in the Prefect UI."""
    match node.kind:
        case Kind.EVENT:
            return f"/events/{node.id}"
        case Kind.FLOW_RUN:
            return run_url(node.id)
        case _:
            return center(node)


def center(node: Node) -> str:
    """Return the lineage page of an event, a run or an asset; "" for what has none."""
    kind = {Kind.EVENT: "event", Kind.FLOW_RUN: "run", Kind.ASSET: "asset"}.get(node.kind)
    return f"/lineage/{kind}/{quote(node.id, safe='')}" if kind else ""


def _cut(words: str, characters: int) -> str:
    shown = text.visible(words)
    if len(shown) <= characters:
        return shown
    # The end of a key or a type says more than its middle.
    tail = characters // 2
    return f"{shown[: characters - tail - 1]}…{shown[-tail:]}"


def _curve(points: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = [(px + MARGIN, py + MARGIN) for px, py in points]
    path = [f"M{x:.1f} {y:.1f}"]
    for nx, ny in rest:
        if ny == y:
            path.append(f"L{nx:.1f} {ny:.1f}")
        else:
            half = (x + nx) / 2
            path.append(f"C{half:.1f} {y:.1f} {half:.1f} {ny:.1f} {nx:.1f} {ny:.1f}")
        x, y = nx, ny
    return " ".join(path)
