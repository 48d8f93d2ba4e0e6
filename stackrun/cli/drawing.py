"""The start of a stack as one SVG that needs nothing else: waves are columns, colours tell conditions, thick is the critical path."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import pairwise

from stackrun.cli.graphs import bound, condition, label, title
from stackrun.cli.layered import Box, Layout, Point, layout
from stackrun.stack.critical import Node, Start, Wait, plain_s

MARGIN = 24.0
HEADING = 84.0
LEGEND = 56.0
CHARACTER = 7.3
"""Width of a character of the font at 12 px, wide enough for every monospaced one."""
NAME_MAX = 32
WIDTH_MIN = 560.0
COLOURS = {"started": "#2563a8", "healthy": "#2f7d32", "completed": "#a65f00"}
_OTHER = "#555555"
_STYLE = """
  text { font: 12px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #1c1c1c }
  .heading { font-size: 15px; font-weight: bold }
  .dim { fill: #666666 }
  .box { fill: #f6f7f9; stroke: #8a8f98 }
  .edge { fill: none; stroke-width: 1.3 }
  .optional { stroke-dasharray: 5 4 }
  .critical.edge { stroke-width: 3 }
  .critical.box { stroke: #1c1c1c; stroke-width: 2.5 }
"""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_svg(start: Start) -> str:
    names = {node.name: node for node in start.nodes}
    widths = {node.name: len(_short(title(node))) * CHARACTER + 20 for node in start.nodes}
    waits = {(wait.edge.target, wait.edge.source): wait for wait in start.waits}
    placed = layout(start.waves, list(waits), widths)
    width = max(placed.width + 2 * MARGIN, len(_summary(start)) * CHARACTER + 2 * MARGIN, WIDTH_MIN)
    height = placed.height + HEADING + LEGEND + MARGIN
    chain = start.critical.services if start.critical.waits else ()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">',
        f"<title>{_text(start.project)}</title>", f"<style>{_STYLE}</style>", *_markers(),
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>', *_heading(start),
        f'<g transform="translate({MARGIN:.0f} {HEADING:.0f})">',
        *_waves(placed, start.waves),
        *(_edge(waits[pair], points, waits[pair] in start.critical.waits) for pair, points in placed.routes.items()),
        *(_box(names[name], box, name in chain) for name, box in placed.boxes.items()),
        "</g>", *_legend(height - LEGEND + 8), "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _summary(start: Start) -> str:
    """The critical path in words; the drawing has it in thick lines."""
    return f"{start.critical.services[-1]} starts {bound(start)}" if start.critical.waits else "nothing waits for anything else"


def _heading(start: Start) -> list[str]:
    return [_label(MARGIN, 26, start.project, "heading"), _label(MARGIN, 44, _summary(start), "dim")] if start.nodes else []


def _waves(placed: Layout, waves: Sequence[Sequence[str]]) -> list[str]:
    return [_label(placed.boxes[names[0]].x, -10, f"wave {number}", "dim") for number, names in enumerate(waves, 1)]


def _markers() -> list[str]:
    """One arrow head for each colour: `context-stroke` is not everywhere yet."""
    heads = (
        f'<marker id="{word}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" '
        f'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
        for word, colour in {**COLOURS, "other": _OTHER}.items()
    )
    return ["<defs>", *heads, "</defs>"]


def _box(node: Node, box: Box, critical: bool) -> str:
    told = [title(node), node.image, f"starts after at most {plain_s(node.starts_s)}{' and open waits' if node.open else ''}"]
    shown = _short(title(node))
    return (
        f'<g><title>{_text(chr(10).join(filter(None, told)))}</title><rect class="box{" critical" if critical else ""}" rx="4" '
        f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"/>'
        f"{_label(box.x + 10, box.y + box.height / 2 + 4, shown)}</g>"
    )


def _edge(wait: Wait, points: Sequence[Point], critical: bool) -> str:
    word = condition(wait)
    kind = "edge" + ("" if wait.edge.required else " optional") + (" critical" if critical else "")
    told = f"{wait.edge.source} waits for {wait.edge.target}: {label(wait)}{f', {wait.why}' if wait.why else ''}"
    return (
        f'<path class="{kind}" d="{_curve(points)}" stroke="{COLOURS.get(word, _OTHER)}" '
        f'marker-end="url(#{word if word in COLOURS else "other"})"><title>{_text(told)}</title></path>'
    )


def _curve(points: Sequence[Point]) -> str:
    """Straight through the columns, an S in the gaps between them."""
    steps = [f"M{points[0].x:.1f} {points[0].y:.1f}"]
    for number, (before, after) in enumerate(pairwise(points)):
        middle = (before.x + after.x) / 2
        bend = f"C{middle:.1f} {before.y:.1f} {middle:.1f} {after.y:.1f} {after.x:.1f} {after.y:.1f}"
        steps.append(bend if number % 2 == 0 else f"L{after.x:.1f} {after.y:.1f}")
    return " ".join(steps)


def _legend(y: float) -> list[str]:
    lines, x = [], MARGIN
    kinds = [(word, "edge", colour) for word, colour in COLOURS.items()]
    for word, kind, colour in [*kinds, ("optional", "edge optional", _OTHER), ("critical path", "edge critical", _OTHER)]:
        lines.append(f'<path class="{kind}" d="M{x:.0f} {y:.0f} h28" stroke="{colour}"/>{_label(x + 34, y + 4, word, "dim")}')
        x += 34 + len(word) * CHARACTER + 22
    return [*lines, _label(MARGIN, y + 26, "an arrow leads from what is waited for; a column starts together", "dim")]


def _label(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{_text(text)}</text>'


def _short(text: str) -> str:
    return text if len(text) <= NAME_MAX else text[: NAME_MAX - 1] + "…"


def _text(text: str) -> str:
    """What stands for itself in XML; characters that XML cannot have at all become U+FFFD."""
    return html.escape(_NOT_XML.sub("�", text))
