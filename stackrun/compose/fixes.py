"""What `validate --fix` may write: small edits of a file's text, which leave every comment and all other spelling as they are.

A fix is made from the finding and from how its file is written. Where the text also counts elsewhere (an anchor that an alias
refers to), came from a variable, or is not there, there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from stackrun.compose.validation import Finding
from stackrun.compose.written import Node, Written


class Edit(NamedTuple):
    """Characters `start` to `end` of the text become `text`."""

    start: int
    end: int
    text: str


class Fix(NamedTuple):
    """`safe`: the stack means the same afterwards, or what it was evidently meant to."""

    description: str
    edits: tuple[Edit, ...]
    safe: bool = True


Make = Callable[[Finding, Written, Node], Fix | None]


def fix_of(finding: Finding, written: Written | None) -> Fix | None:
    """The finding's fix, None when there is none."""
    make = _MAKERS.get(finding.code)
    if written is None or make is None or not finding.place.line or finding.suppressed:
        return None
    if finding.code == "unused-suppression":
        return _without_comment(finding, written)
    node = written.at(finding.place.line, finding.place.column)
    if node is None or node.kind == "alias" or written.reached_by_alias(node) or "$" in node.raw:
        return None
    return make(finding, written, node)


def applied(written: Written, fixes: Iterable[Fix]) -> tuple[str, int]:
    """The text with as many of the fixes as do not touch each other's characters, and how many those are."""
    text, before, count = written.text, len(written.text) + 1, 0
    for fix in sorted(fixes, key=lambda one: max(edit.end for edit in one.edits), reverse=True):
        edits = sorted(set(fix.edits), reverse=True)
        if edits[0].end > before:
            continue
        for edit in edits:
            text = text[: edit.start] + edit.text + text[edit.end :]
        before, count = edits[-1].start, count + 1
    return text, count


# --- pieces of text -------------------------------------------------------------------------------


def _replaced(node: Node, text: str, description: str, *, safe: bool = True) -> Fix:
    return Fix(description, (Edit(node.start.offset, node.end.offset, text),), safe)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(node: Node) -> bool:
    return node.kind == "scalar" and node.style in ("plain", "single", "double")


def _line_break(text: str, offset: int) -> int:
    """The offset after the end of the line."""
    end = text.find("\n", offset)
    return len(text) if end < 0 else end + 1


def _removed(written: Written, begin: Node, end: Node, description: str, *, safe: bool = True) -> Fix | None:
    """Whole lines from one node to another, when nothing else stands on them but a comment."""
    start = written.text.rfind("\n", 0, begin.start.offset) + 1
    stop = _line_break(written.text, end.end.offset)
    before = written.text[start : begin.start.offset].strip(" \t-")
    after = written.text[end.end.offset : stop].strip()
    if before or (after and not after.startswith("#")):
        return None
    return Fix(description, (Edit(start, stop, ""),), safe)


# --- a maker a rule -------------------------------------------------------------------------------


def _without_key(finding: Finding, written: Written, node: Node) -> Fix | None:
    value = written.node(node.path, node.document)
    if not node.is_key or value is None or written.text_of(value).startswith(("|", ">")):
        return None
    return _removed(written, node, value if value.end.offset > node.end.offset else node, f"remove {node.value}")


def _without_entry(finding: Finding, written: Written, node: Node) -> Fix | None:
    """A declaration that nobody uses; the last one of its section would leave an empty section, which is fine too."""
    fix = _without_key(finding, written, node)
    return fix._replace(safe=False) if fix else None


def _without_item(finding: Finding, written: Written, node: Node) -> Fix | None:
    return _removed(written, node, node, "remove the second one") if _plain(node) else None


def _meant_key(finding: Finding, written: Written, node: Node) -> Fix | None:
    match = re.fullmatch(r'did you mean "([A-Za-z0-9_.-]+)"\?', finding.hint)
    if not match or not _plain(node) or written.key((*node.path[:-1], match[1]), node.document):
        return None
    return _replaced(node, match[1], f"{node.value} → {match[1]}")


def _meant_value(finding: Finding, written: Written, node: Node) -> Fix | None:
    match = re.fullmatch(r'did you mean "([A-Za-z0-9_.-]+)"\?', finding.hint)
    return _replaced(node, match[1], f"{node.value} → {match[1]}", safe=False) if match and _plain(node) and not node.is_key else None


def _in_quotes(finding: Finding, written: Written, node: Node) -> Fix | None:
    return _replaced(node, _quoted(node.raw), f"quote {node.raw}") if node.style == "plain" and node.raw else None


def _typed(finding: Finding, written: Written, node: Node) -> Fix | None:
    """A value of the wrong type, where the hint says how it is written right."""
    if not _plain(node) or node.is_key:
        return None
    if finding.hint.startswith("quote it: "):
        return _in_quotes(finding, written, node)
    match = re.fullmatch(r"write (?:a unit: (\S+)|(\S+) without quotes)", finding.hint)
    return _replaced(node, match[1] or match[2], f"{node.raw} → {match[1] or match[2]}") if match else None


def _with_shell_word(finding: Finding, written: Written, node: Node) -> Fix | None:
    """`test: [curl, -f, …]` lacks its first word."""
    if node.kind != "sequence" or node.style != "flow":
        return None
    return Fix("add CMD", (Edit(node.start.offset + 1, node.start.offset + 1, "CMD, "),))


def _on_loopback(finding: Finding, written: Written, node: Node) -> Fix | None:
    if not _plain(node) or node.value.count(":") != 1:
        return None
    return _replaced(node, _quoted(f"127.0.0.1:{node.value}"), "publish on this machine alone", safe=False)


def _without_comment(finding: Finding, written: Written) -> Fix | None:
    for comment in written.comments:
        if comment.place == finding.place and "," not in comment.text.partition("]")[0]:
            start = comment.offset
            end = _line_break(written.text, start)
            if comment.alone:
                return Fix("remove the suppression", (Edit(written.text.rfind("\n", 0, start) + 1, end, ""),))
            start = len(written.text[:start].rstrip(" \t"))
            break_at = end - 1 if written.text[end - 1 : end] == "\n" else end
            return Fix("remove the suppression", (Edit(start, break_at - (written.text[break_at - 1] == "\r"), ""),))
    return None


_MAKERS: dict[str, Make] = {
    "deprecated-version": _without_key,
    "duplicate-item": _without_item,
    "healthcheck-form": _with_shell_word,
    "invalid-value": _meant_value,
    "key-type": _in_quotes,
    "public-port": _on_loopback,
    "unknown-key": _meant_key,
    "unused-config": _without_entry,
    "unused-network": _without_entry,
    "unused-secret": _without_entry,
    "unused-suppression": lambda finding, written, node: None,
    "unused-volume": _without_entry,
    "wrong-type": _typed,
    "yaml-boolean": _in_quotes,
    "yaml-number": _in_quotes,
}
"""Code → what makes its fix. Every code is one of the catalogue's."""
FIXABLE = frozenset(_MAKERS)
