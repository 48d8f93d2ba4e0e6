"""What makes a text a stack file: YAML, then keys and values that the schema knows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Stack
from stackrun.compose.tree import Place
from stackrun.compose.written import Node

GROUP = Group("structure", "schema")

GROUP.reported("yaml-syntax", "A file is not YAML.")
GROUP.reported("yaml-encoding", "A file has bytes or characters that YAML does not allow.")
GROUP.reported("yaml-limit", "A file is nested too deep, or its aliases ask for more than anybody writes.")
GROUP.reported("too-much", "The stack asks for more than is looked into.")
GROUP.reported("too-many", "There are more findings than anybody reads.")
GROUP.reported("duplicate-key", "A key stands twice in one mapping.")
GROUP.reported("key-type", "A key is not a string.")
GROUP.reported("merge-key", "A merge key (<<) does not lead to a mapping.")
GROUP.reported("no-mapping", "A file does not begin with keys.")
GROUP.reported("empty-document", "A document of the file says nothing.")
GROUP.reported("empty-file", "The file says nothing at all.")
GROUP.reported("unknown-key", "A key is none that a stack file has.")
GROUP.reported("misplaced-key", "A key is valid, but not where it stands.")
GROUP.reported("missing-key", "A key that must be there is not.")
GROUP.reported("wrong-type", "A value is of another type than its key takes.")
GROUP.reported("invalid-value", "A value is none that its key takes.")
GROUP.reported("duplicate-item", "A list that takes each item once has one twice.")
GROUP.reported("short-form", "A value's short form cannot be read.")
GROUP.reported("invalid-extra-host", "An extra host has no address.")
GROUP.reported("unclosed-quote", "A command has a quote that is not closed.")
GROUP.reported("merge-conflict", "A file says a list where the one that it is laid over says a mapping, or the other way round.")
GROUP.reported("external-name", "The name of an external resource is written as it was long ago.", "warning")
GROUP.reported("obsolete-version", "The file says a version, which nobody reads.", "warning")
GROUP.reported("command-dropped", "A part of a command is dropped since no shell runs it.", "warning")
GROUP.reported("invalid-on-change", "What happens on a change is not one signal or one command.")

_BOOLEAN = re.compile(r"[ \[](?:yes|no|on|off|Yes|No|On|Off|YES|NO|ON|OFF)(?=[ \t]*(?:[,\]}\r\n]|$))")
_SEXAGESIMAL = re.compile(r"[ \[][1-9][0-9]*(?::[0-5]?[0-9])+(?=[ \t]*(?:[,\]}\r\n]|$))")


def _plain_values(stack: Stack, pattern: re.Pattern[str]) -> Iterator[tuple[Place, Node]]:
    """Scalars without quotes that match, other than variables of containers, which have rules of their own."""
    for path, text in stack.sources.items():
        for found in pattern.finditer(text):
            offset = found.start() + 1
            written = stack.written(path)
            line, column, _ = written.position(offset)
            node = written.at(line, column)
            if node is not None and node.style == "plain" and not node.is_key and node.value == found[0][1:] and _is_setting(node):
                yield Place(path, line, column), node


def _is_setting(node: Node) -> bool:
    return not {"environment", "args", "command", "entrypoint", "labels"} & set(node.path)


@GROUP.rule("yaml-boolean", "note", "A word without quotes is a truth value to other YAML readers.", "lint")
def yaml_boolean(stack: Stack) -> Iterator[Found]:
    for place, node in _plain_values(stack, _BOOLEAN):
        yield Found(place, f"{node.value} is a truth value to readers of YAML 1.1", f'quote it: "{node.value}"')


@GROUP.rule("yaml-number", "note", "A value with a colon is a number to other YAML readers.", "lint")
def yaml_number(stack: Stack) -> Iterator[Found]:
    for place, node in _plain_values(stack, _SEXAGESIMAL):
        yield Found(place, f"{node.value} is a number to the base of 60 to readers of YAML 1.1", f'quote it: "{node.value}"')


_ANCHOR = re.compile(r"&(?<=[\s\[{,]&)([A-Za-z0-9_][^\s,\[\]{}]*)")
_ALIAS = re.compile(r"\*([^\s,\[\]{}]+)")


@GROUP.rule("unused-anchor", "note", "An anchor is set, and no alias refers to it.", "lint")
def unused_anchor(stack: Stack) -> Iterator[Found]:
    for path, text in stack.sources.items():
        if set(_ANCHOR.findall(text)) <= set(_ALIAS.findall(text)):
            continue
        written = stack.written(path)
        for node in written.nodes:
            anchor = node.anchors[-1] if node.anchors else ""
            if anchor and anchor not in written.aliased and written.line(node.place.line)[node.place.column - 1 :].startswith("&" + anchor):
                yield Found(node.place, f"nothing refers to the anchor {anchor}", f"remove &{anchor}")


@GROUP.rule("empty-section", "note", "A section of the file says nothing.", "lint")
def empty_section(stack: Stack) -> Iterator[Found]:
    for section in ("networks", "volumes", "configs", "secrets", "models"):
        if section in stack.root and stack.root.key_place(section).line and not stack.root[section]:
            yield Found(stack.root.key_place(section), f"{section} has no entry", "remove the key")
