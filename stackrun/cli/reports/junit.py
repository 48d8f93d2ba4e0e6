"""Findings as JUnit's XML: a test case for each file and rule, so that what holds is counted too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

from stackrun.compose.rules.catalog import rules
from stackrun.compose.rules.rule import Level
from stackrun.compose.validation import Finding, Validation

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write (section 2.2)."""


def render(validation: Validation, *, shown: Level, colour: bool) -> str:
    by_case: dict[tuple[str, str], list[Finding]] = {}
    for one in validation.findings:
        by_case.setdefault((one.place.path, one.code), []).append(one)
    root = ElementTree.Element("testsuites", name="stackrun validate")
    for file in sorted({*validation.files, *(one.place.path for one in validation.findings)}):
        root.append(_suite(file, by_case))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(file: str, by_case: dict[tuple[str, str], list[Finding]]) -> ElementTree.Element:
    cases = [_case(file, code, by_case.get((file, code), [])) for code in rules()]
    counts = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "skipped")}
    suite = ElementTree.Element("testsuite", name=_clean(file), tests=str(len(cases)), errors="0", time="0")
    suite.set("failures", str(counts["failure"]))
    suite.set("skipped", str(counts["skipped"]))
    suite.extend(cases)
    return suite


def _case(file: str, code: str, found: Iterable[Finding]) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_clean(file), name=code, file=_clean(file), time="0")
    still = [one for one in found if not one.suppressed]
    if still:
        failure = ElementTree.SubElement(case, "failure", type=still[0].level, message=_clean(still[0].message))
        failure.text = _clean("\n".join(f"{one.place}: {one.message}" + (f"\n  hint: {one.hint}" if one.hint else "") for one in still))
    elif found:
        ElementTree.SubElement(case, "skipped", message=_clean("; ".join(one.suppressed for one in found)))
    return case


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
