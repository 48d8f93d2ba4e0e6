"""What `validate --fix` may write: small edits of a file's text, which leave every comment and all other spelling as they are.

A fix is made from the finding and from how its file is written. Where the text also counts elsewhere (an anchor that an alias
refers to), came from a variable, or is not there, there is none.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import islice, takewhile
from typing import NamedTuple

from stackrun.compose.suppress import COMMENT
from stackrun.compose.validation import Finding
from stackrun.compose.written import Comment, Node, Written


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
        return _without_suppression(finding, written)
    node = written.at(finding.place.line, finding.place.column)
    if node is None or node.kind == "alias" or written.reached_by_alias(node) or "$" in node.raw:
        return None
    return make(finding, written, node)


def applied(written: Written, fixes: Iterable[Fix]) -> tuple[str, int]:
    """The text with as many of the fixes as do not touch each other's characters, and how many those are."""
    text, before, count = written.text, len(written.text) + 1, 0
    for fix in sorted(set(fixes), key=lambda one: max(edit.end for edit in one.edits), reverse=True):
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


def _one_line(node: Node) -> bool:
    """A scalar that can be replaced as it stands."""
    return node.kind == "scalar" and node.style in ("plain", "single", "double") and node.start.line == node.end.line


def _line_break(text: str, offset: int) -> int:
    """The offset after the end of the line."""
    end = text.find("\n", offset)
    return len(text) if end < 0 else end + 1


def _removed(written: Written, begin: Node, end: Node, description: str) -> Fix | None:
    """Whole lines from one node to another, when nothing else stands on them but a comment and an item's dash."""
    start = written.text.rfind("\n", 0, begin.start.offset) + 1
    stop = _line_break(written.text, end.end.offset)
    before = written.text[start : begin.start.offset].strip(" \t")
    after = written.text[end.end.offset : stop].strip()
    dash = "-" if not begin.is_key and isinstance(begin.path[-1], int) else ""
    if before != dash or (after and not after.startswith("#")) or _referred_to(written, start, stop):
        return None
    return Fix(description, (Edit(start, stop, ""),))


def _referred_to(written: Written, start: int, stop: int) -> bool:
    """Whether an alias elsewhere refers to something between the two offsets."""
    first = bisect_left(written.nodes, start, key=lambda node: node.start.offset)
    last = bisect_left(written.nodes, stop, key=lambda node: node.start.offset)
    return any(written.reached_by_alias(node) for node in written.nodes[first:last])


def _only_of_its_list(written: Written, node: Node) -> bool:
    last = node.path[-1]
    return isinstance(last, int) and not last and written.node((*node.path[:-1], 1), node.document) is None


# --- a maker a rule -------------------------------------------------------------------------------


def _without_key(finding: Finding, written: Written, node: Node) -> Fix | None:
    value = written.node(node.path, node.document)
    if not node.is_key or value is None:
        return None
    return _removed(written, node, value if value.end.offset > node.end.offset else node, f"remove {node.value}")


def _without_version(finding: Finding, written: Written, node: Node) -> Fix | None:
    return _without_key(finding, written, node) if node.path == ("version",) else None


def _without_entry(finding: Finding, written: Written, node: Node) -> Fix | None:
    """A declaration that nobody uses, with its section when it is the only one: an empty section is a fault."""
    section = written.key(node.path[:-1], node.document)
    alone = section is not None and _entries(written, section) == 1
    fix = _without_key(finding, written, section if alone and section else node)
    return fix._replace(description=f"remove {node.value}", safe=False) if fix else None


def _entries(written: Written, section: Node) -> int:
    """How many keys a section has: 0, 1, or 2 for more."""
    value = written.node(section.path, section.document)
    if value is None:
        return 0
    first = bisect_left(written.nodes, section.end.offset, key=lambda node: node.start.offset)
    inside = takewhile(lambda node: node.start.offset < value.end.offset, islice(written.nodes, first, None))
    return len(list(islice((one for one in inside if one.is_key and len(one.path) == len(section.path) + 1), 2)))


def _without_item(finding: Finding, written: Written, node: Node) -> Fix | None:
    """The second one of two: a line of a block, or what follows the item before it in brackets."""
    if not _one_line(node) or not isinstance(node.path[-1:][0], int) or _only_of_its_list(written, node):
        return None
    before = written.node((*node.path[:-1], int(node.path[-1]) - 1), node.document)
    parent = written.node(node.path[:-1], node.document)
    if parent is None or parent.style != "flow":
        return _removed(written, node, node, "remove the second one")
    after = written.node((*node.path[:-1], int(node.path[-1]) + 1), node.document)
    start, end = (before.end, node.end) if before else (node.start, after.start if after else node.end)
    if written.text[start.offset : end.offset].replace(node.raw, "", 1).strip() != ",":
        return None
    return Fix("remove the second one", (Edit(start.offset, end.offset, ""),))


def _meant(finding: Finding, written: Written, node: Node) -> Fix | None:
    """A misspelt key or name. What names something else is not safe: it may be the other that is wrong."""
    match = re.fullmatch(r'did you mean "([A-Za-z0-9_.-]+)"\?', finding.hint)
    if not match or not _one_line(node):
        return None
    if f'"{node.value}"' not in finding.message and repr(node.value) not in finding.message:
        return _meant_volume(finding, node, match[1])
    if node.is_key and written.key((*node.path[:-1], match[1]), node.document):
        return None
    safe = finding.code == "unknown-key"
    return _replaced(node, match[1], f"{node.value} → {match[1]}", safe=safe)


def _meant_volume(finding: Finding, node: Node, meant: str) -> Fix | None:
    """The name that a mount in short form begins with."""
    name, separator, rest = node.raw.partition(":")
    quote = name[:1] if name[:1] in "\"'" else ""
    if not separator or f'"{name[len(quote) :]}"' not in finding.message:
        return None
    return _replaced(node, f"{quote}{meant}:{rest}", f"{name[len(quote) :]} → {meant}", safe=False)


def _in_quotes(finding: Finding, written: Written, node: Node) -> Fix | None:
    if node.style != "plain" or not node.raw or node.tag or not _one_line(node):
        return None
    return _replaced(node, _quoted(node.raw), f"quote {node.raw}")


def _in_quotes_as_written(finding: Finding, written: Written, node: Node) -> Fix | None:
    """The container gets another value afterwards: the one that is written."""
    fix = _in_quotes(finding, written, node)
    return fix._replace(safe=False) if fix else None


def _without_first(finding: Finding, written: Written, node: Node) -> Fix | None:
    """The one of two that does not count; the finding is at the other, and its note at this one."""
    place = finding.notes[0].place if finding.notes else None
    first = written.at(place.line, place.column) if place is not None and place.path == written.path else None
    if first is None or first.kind == "alias" or written.reached_by_alias(first) or first.path[:-1] != node.path[:-1]:
        return None
    fix = _without_item(finding, written, first)
    return fix._replace(description="remove the first one, which does not count") if fix else None


def _without_its_key(finding: Finding, written: Written, node: Node) -> Fix | None:
    key = written.key(node.path, node.document)
    return _without_key(finding, written, key) if key is not None and not node.is_key else None


def _quotes_around_item(finding: Finding, written: Written, node: Node) -> Fix | None:
    """`- NAME="value"` → `- "NAME=value"`."""
    match = re.fullmatch(r"([^\s=\"'\\]+)=([\"'])([^\"'\\]*)\2", node.raw) if node.style == "plain" else None
    return _replaced(node, _quoted(f"{match[1]}={match[3]}"), "put the quotes around the item", safe=False) if match else None


def _typed(finding: Finding, written: Written, node: Node) -> Fix | None:
    """A value of the wrong type, where the hint says how it is written right."""
    if node.path == ("version",) and (key := written.key(node.path, node.document)) is not None:
        return _without_key(finding, written, key)
    if not _one_line(node) or node.is_key or node.tag:
        return None
    if finding.hint.startswith("quote it"):
        return _in_quotes(finding, written, node)
    if re.search(r" must be a list, not the (?:number|string) ", finding.message) and re.fullmatch(r"[\w./:@-]+", node.value):
        return _replaced(node, f"[{_quoted(node.value)}]", "make it a list")
    match = re.fullmatch(r"write (?:a unit: (\S+)|(\S+) without quotes)", finding.hint)
    return _replaced(node, match[1] or match[2], f"{node.raw} → {match[1] or match[2]}") if match else None


def _valued(finding: Finding, written: Written, node: Node) -> Fix | None:
    """A word that is misspelt, or a duration without a unit."""
    if finding.hint.startswith("write a number and a unit") and node.value.isdecimal() and _one_line(node) and not node.is_key:
        return _replaced(node, f"{node.value}s", f"{node.value} → {node.value}s")
    return _meant(finding, written, node)


def _with_shell_word(finding: Finding, written: Written, node: Node) -> Fix | None:
    """`test: [curl, -f, …]` lacks its first word."""
    if node.kind != "sequence" or not finding.hint.startswith('write ["CMD", '):
        return None
    first = written.node((*node.path, 0), node.document)
    if first is None or first.kind != "scalar":
        return None
    if node.style == "flow":
        return Fix("add CMD", (Edit(first.start.offset, first.start.offset, "CMD, "),))
    begin = written.text.rfind("\n", 0, first.start.offset) + 1
    indent = written.text[begin : first.start.offset]
    if indent.strip(" ") != "-":
        return None
    return Fix("add CMD", (Edit(begin, begin, f"{indent}CMD{_break_of(written.text)}"),))


def _break_of(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _on_loopback(finding: Finding, written: Written, node: Node) -> Fix | None:
    if not _one_line(node) or node.is_key or node.value.count(":") != 1:
        return None
    return _replaced(node, _quoted(f"127.0.0.1:{node.value}"), "publish on this machine alone", safe=False)


def _as_in_hint(finding: Finding, written: Written, node: Node) -> Fix | None:
    match = re.fullmatch(r"write ([0-9a-fA-F.:/]+)", finding.hint)
    return _replaced(node, match[1], f"{node.raw} → {match[1]}") if match and node.style == "plain" and _one_line(node) else None


def _without_spaces(finding: Finding, written: Written, node: Node) -> Fix | None:
    """`- NAME = value`."""
    name, separator, value = node.raw.partition("=")
    if node.style != "plain" or not separator or not _one_line(node):
        return None
    return _replaced(node, f"{name.strip()}={value.strip()}", "remove the spaces", safe=False)


def _without_anchor(finding: Finding, written: Written, node: Node) -> Fix | None:
    match = re.fullmatch(r"remove (&\S+)", finding.hint)
    start = written.text.rfind(match[1], 0, node.start.offset) if match else -1
    if match is None or start < 0 or written.position(start)[:2] != (node.place.line, node.place.column):
        return None
    end = start + len(match[1])
    if written.text[end : _line_break(written.text, end)].strip():
        end += len(written.text[end:]) - len(written.text[end:].lstrip(" \t"))
    else:
        start = len(written.text[:start].rstrip(" \t"))
    return Fix(match[0], (Edit(start, end, ""),))


def _without_suppression(finding: Finding, written: Written) -> Fix | None:
    """The whole comment, or the code alone where others are still of use."""
    index = bisect_left(written.comments, finding.place.line, key=lambda one: one.place.line)
    comment = written.comments[index] if index < len(written.comments) else None
    if comment is None or comment.place.line != finding.place.line or comment.place.column >= finding.place.column:
        node = written.at(finding.place.line, finding.place.column)
        return _without_key(finding, written, node) if node is not None and not written.reached_by_alias(node) else None
    match = COMMENT.fullmatch(comment.text)
    assert match is not None
    listed = match[1].split(",")
    if len(listed) == 1:
        return _without_comment(comment, written.text)
    offset = comment.offset + finding.place.column - comment.place.column
    end = offset + finding.end[1] - finding.place.column
    after = re.compile(r"\s*,\s*").match(written.text, end)
    if after:
        return Fix("remove the suppression", (Edit(offset, after.end(), ""),))
    return Fix("remove the suppression", (Edit(written.text.rindex(",", 0, offset), end, ""),))


def _without_comment(comment: Comment, text: str) -> Fix:
    end = _line_break(text, comment.offset)
    if comment.alone:
        return Fix("remove the suppression", (Edit(text.rfind("\n", 0, comment.offset) + 1, end, ""),))
    start = len(text[: comment.offset].rstrip(" \t"))
    return Fix("remove the suppression", (Edit(start, len(text[:end].rstrip("\r\n")), ""),))


_MAKERS: dict[str, Make] = {
    "ambiguous-value": _in_quotes,
    "changed-value": _in_quotes_as_written,
    "duplicate-item": _without_item,
    "duplicate-variable": _without_first,
    "empty-section": _without_key,
    "env-file-twice": _without_first,
    "healthcheck-form": _with_shell_word,
    "host-bits-in-subnet": _as_in_hint,
    "invalid-value": _valued,
    "key-type": _in_quotes,
    "obsolete-version": _without_version,
    "public-database-port": _on_loopback,
    "public-port": _on_loopback,
    "public-ssh-port": _on_loopback,
    "pull-of-fixed-image": _without_its_key,
    "quotes-in-value": _quotes_around_item,
    "repeated-mount": _without_first,
    "space-in-variable": _without_spaces,
    "undefined-config": _meant,
    "undefined-model": _meant,
    "undefined-network": _meant,
    "undefined-secret": _meant,
    "undefined-service": _meant,
    "undefined-volume": _meant,
    "unknown-key": _meant,
    "unused-anchor": _without_anchor,
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
