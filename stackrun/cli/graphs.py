"""The start of a stack as text: waves for a terminal, Mermaid, Graphviz and JSON. An arrow leads from what is needed to who waits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from stackrun.stack.critical import HOW, Node, Start, Wait, plain_s

CONDITIONS = {"service_started": "started", "service_healthy": "healthy", "service_completed_successfully": "completed"}
_COLOURS = {"started": "36", "healthy": "32", "completed": "33"}
_WIDTH_MAX = 30
"""A service's name beyond this does not widen its column."""
_NAMED_MAX = 3


def condition(wait: Wait) -> str:
    """`healthy`, `started`, `completed`: the condition in one word."""
    return CONDITIONS.get(wait.edge.condition, wait.edge.condition)


def remarks(wait: Wait) -> list[str]:
    """What an edge is besides its condition: where it comes from when nobody wrote depends_on, and its two flags."""
    edge = wait.edge
    told = [edge.reason] if edge.reason != "depends_on" else []
    told += ["optional"] if not edge.required else []
    return told + (["restarts with it"] if edge.restart else [])


def label(wait: Wait) -> str:
    """`healthy (links, optional)`."""
    told = ", ".join(remarks(wait))
    return f"{condition(wait)} ({told})" if told else condition(wait)


def title(node: Node) -> str:
    """`api ×2`."""
    return node.name if node.replicas == 1 else f"{node.name} ×{node.replicas}"


# --- a terminal -----------------------------------------------------------------------------------


class _Paint:
    """Escape sequences, or none: `code` is that of SGR."""

    def __init__(self, coloured: bool) -> None:
        self._coloured = coloured

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured and code else text


def to_text(start: Start, *, coloured: bool = False) -> str:
    paint = _Paint(coloured)
    count = len(start.nodes)
    heading = f"{start.project}: {_count(count, 'service')}"
    lines = [f"{heading}, started in {_count(len(start.waves), 'wave')}" if count else f"{heading}"]
    for node in start.nodes:
        first = node.name == start.waves[node.wave - 1][0]
        lines += ([""] if first else []) + [_row(start, node, first, paint)]
    return "\n".join([*lines, *_critical(start, paint)]) + "\n"


def _row(start: Start, node: Node, first: bool, paint: _Paint) -> str:
    width = min(max(len(title(one)) for one in start.nodes), _WIDTH_MAX)
    number = paint(f"{node.wave:>3}" if first else "   ", "2")
    name = paint(title(node), "1" if node.name in start.critical.services and len(start.critical.services) > 1 else "")
    waits = ", ".join(f"{wait.edge.target} {_painted(wait, paint)}" for wait in _waits_of(start, node.name))
    pad = " " * max(width - len(title(node)), 0)
    return f"{number}  {name}{pad}  after {waits}" if waits else f"{number}  {name}"


def _painted(wait: Wait, paint: _Paint) -> str:
    word = condition(wait)
    return paint(word, _COLOURS.get(word, "")) + label(wait).removeprefix(word)


def _waits_of(start: Start, name: str) -> list[Wait]:
    return [wait for wait in start.waits if wait.edge.source == name]


def _critical(start: Start, paint: _Paint) -> list[str]:
    path = start.critical
    if not path.waits:
        return ["", "nothing waits for anything else"] if start.nodes else []
    lines = ["", f"critical path: {paint(' → '.join(path.services), '1')}"]
    lines += [f"     {wait.edge.target} {_painted(wait, paint)}: {_duration(wait)}" for wait in path.waits]
    return [*lines, f"{path.services[-1]} starts {bound(start)}"]


def _duration(wait: Wait) -> str:
    if wait.open:
        return wait.why
    return f"at most {plain_s(wait.seconds)} ({wait.why})" if wait.why else "at once"


def bound(start: Start) -> str:
    """`after at most 35s of waiting for health, and however long migrate takes`: also what is beside the path can hold its end up."""
    path = start.critical
    names = path.open_on if len(path.open_on) <= _NAMED_MAX else (*path.open_on[:_NAMED_MAX], f"{len(path.open_on) - _NAMED_MAX} more")
    takes = f"however long {' and '.join(names)} take{'' if len(names) > 1 else 's'}"
    if not path.seconds:
        return f"after {takes}" if names else "as soon as the others are started"
    waiting = f"after at most {plain_s(path.seconds)} of waiting for health"
    return f"{waiting}, and {takes}" if names else waiting


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# --- Mermaid --------------------------------------------------------------------------------------


def to_mermaid(start: Start) -> str:
    """A flowchart. Nodes get ids of their own, since `end` and `a-->b` are words of the language and valid names of services."""
    ids = {node.name: f"s{number}" for number, node in enumerate(start.nodes)}
    lines = ["flowchart LR"]
    lines += [f'    {ids[node.name]}["{_entities(title(node))}"]' for node in start.nodes]
    critical = []
    for number, wait in enumerate(start.waits):
        arrow = "-->" if wait.edge.required else "-.->"
        lines.append(f'    {ids[wait.edge.target]} {arrow}|"{_entities(label(wait))}"| {ids[wait.edge.source]}')
        critical += [str(number)] if wait in start.critical.waits else []
    if critical:
        chain = ",".join(ids[name] for name in start.critical.services)
        lines += ["    classDef critical stroke-width:3px", f"    class {chain} critical"]
        lines.append(f"    linkStyle {','.join(critical)} stroke-width:3px")
    return "\n".join(lines) + "\n"


def _entities(text: str) -> str:
    """Mermaid's way of quoting: `#` and a character's number or name, then `;`."""
    return re.sub(r'[#"<>&`\\|\n]', lambda found: f"#{ord(found[0])};", text)


# --- Graphviz -------------------------------------------------------------------------------------


def to_dot(start: Start) -> str:
    lines = [f"digraph {_quoted(start.project)} {{", '    rankdir="LR";', '    node [shape="box"];']
    for names in start.waves:
        lines.append(f'    {{ rank="same"; {" ".join(f"{_quoted(name)};" for name in names)} }}')
    lines += [f"    {_quoted(node.name)} [label={_quoted(title(node))}{_bold(node.name in _chain(start))}];" for node in start.nodes]
    for wait in start.waits:
        style = ', style="dashed"' if not wait.edge.required else ""
        ends = f"{_quoted(wait.edge.target)} -> {_quoted(wait.edge.source)}"
        lines.append(f"    {ends} [label={_quoted(label(wait))}{style}{_bold(wait in start.critical.waits)}];")
    return "\n".join([*lines, "}"]) + "\n"


def _chain(start: Start) -> tuple[str, ...]:
    return start.critical.services if start.critical.waits else ()


def _bold(critical: bool) -> str:
    return ', penwidth="3"' if critical else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


# --- JSON -----------------------------------------------------------------------------------------


def to_json(start: Start) -> str:
    """Version 1: keys are added, never changed or taken away."""
    path = start.critical
    told = {
        "version": 1,
        "project": start.project,
        "services": [_service(node) for node in start.nodes],
        "edges": [_edge(wait) for wait in start.waits],
        "waves": start.waves,
        "critical_path": {"services": path.services, "seconds": path.seconds, "open_on": path.open_on, "computed": HOW},
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _service(node: Node) -> Mapping[str, Any]:
    return {
        "name": node.name, "image": node.image, "replicas": node.replicas, "wave": node.wave,
        "starts_within_s": node.starts_s, "open": node.open,
    }  # fmt: skip


def _edge(wait: Wait) -> Mapping[str, Any]:
    edge, at = wait.edge, wait.edge.place
    return {
        "from": edge.target, "to": edge.source, "condition": edge.condition, "required": edge.required, "restart": edge.restart,
        "reason": edge.reason, "wait_s": wait.seconds, "open": wait.open, "why": wait.why,
        "place": {"path": at.path, "line": at.line, "column": at.column},
    }  # fmt: skip
