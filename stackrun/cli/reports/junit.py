"""Findings as JUnit's XML: a test case for each file and rule, so that what holds is counted too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

from stackrun.cli.reports.report import INCOMPLETE, at_least, from_root
from stackrun.compose.rules.catalog import rules
from stackrun.compose.rules.rule import Level
from stackrun.compose.validation import Finding, Validation

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write (section 2.2)."""


def render(validation: Validation, *, shown: Level, colour: bool) -> str:
    """What is less grave than `shown` does not fail its case, but stands in its output."""
    by_case: dict[tuple[str, str], list[Finding]] = {}
    for one in validation.findings:
        by_case.setdefault((one.place.path, one.code), []).append(one)
    root = ElementTree.Element("testsuites", name="stackrun validate")
    for file in sorted({*validation.files, *(one.place.path for one in validation.findings)}):
        root.append(_suite(file, [_case(file, code, by_case.get((file, code), []), shown) for code in rules()]))
    if not validation.complete:
        case = ElementTree.Element("testcase", classname="stackrun validate", name="complete", time="0")
        ElementTree.SubElement(case, "error", message=INCOMPLETE)
        root.append(_suite("stackrun validate", [case]))
    _count(root, root.iter("testcase"))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(name: str, cases: list[ElementTree.Element]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=_clean(name), time="0")
    suite.extend(cases)
    _count(suite, cases)
    return suite


def _count(node: ElementTree.Element, cases: Iterable[ElementTree.Element]) -> None:
    cases = list(cases)
    node.set("tests", str(len(cases)))
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        node.set(name, str(sum(case.find(kind) is not None for case in cases)))


def _case(file: str, code: str, found: Iterable[Finding], shown: Level) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_clean(file), name=code, file=_clean(from_root(file)), time="0")
    still = tuple(one for one in found if not one.suppressed)
    if failing := at_least(still, shown):
        failure = ElementTree.SubElement(case, "failure", type=failing[0].level, message=_clean(failing[0].message))
        failure.text = _told(failing)
    elif still:
        ElementTree.SubElement(case, "system-out").text = _told(still)
    elif found:
        ElementTree.SubElement(case, "skipped", message=_clean("; ".join(one.suppressed for one in found)))
    return case


def _told(found: Iterable[Finding]) -> str:
    return _clean("\n".join(f"{one.place}: {one.message}" + (f"\n  hint: {one.hint}" if one.hint else "") for one in found))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
