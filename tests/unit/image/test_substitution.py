from __future__ import annotations

import time

import pytest

from stackrun.errors import InvalidArgument
from stackrun.image.substitution import LONGEST, expand, expand_document, expand_words, raw_words

VARIABLES = {"A": "1", "E": "", "P": "/usr/local/bin", "S": "x y", "Q": 'a"b', "é": "ok", "D": "a.b.c", "L": "one\ntwo"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A ${A} $NONE ${NONE}.", "1 1  ."),
        ("$A_x ${A}_x $A.x", " 1_x 1.x"),
        ("$é $1 $@ $$ $- $", "ok     $"),
        ("$ A $. ${A}", "$ A $. 1"),
        ("\\$A \\\\$A \\a \\\"", '$A \\1 a "'),
        ("\"$A\" '$A' \"'$A'\" '\"$A\"'", "1 $A '1' \"$A\""),
        ('"\\$A \\" \\\\ \\a"', '$A " \\ \\a'),
        ("a\"b c\"'d'e\\ f", "ab cde f"),
        ("'\\'", "\\"),
        ("$Q", 'a"b'),
        ("a\\", "a"),
        ("${A:-x} ${E:-x} ${NONE:-x} ${A-x} ${E-x} ${NONE-x}", "1 x x 1  x"),
        ("${A:+x} ${E:+x} ${NONE:+x} ${A+x} ${E+x} ${NONE+x}", "x   x x "),
        ("${A:?no} ${A?no} [${E?no}]", "1 1 []"),
        ("${NONE:-${ALSO:-${A}}} ${NONE:-\"a }\"} ${NONE:-\\}}", "1 a } }"),
        ("${P#*/} ${P##*/} ${P%/*} [${P%%/*}]", "usr/local/bin bin /usr/local []"),
        ("${P#x} ${P%bin} ${P#/usr?}", "/usr/local/bin /usr/local/ local/bin"),
        ("${D%.*} ${D%%.*} ${D#*.} ${D##*.} ${D%?} ${D##} ${D%%*}", "a.b a b.c c a.b. a.b.c "),
        ("${P/l/L} ${P//l/L} ${P//\\//_} ${P/*/x}", "/usr/Local/bin /usr/LocaL/bin _usr_local_bin x"),
        ("${D//?/x} ${P/u*l/} ${P/none/x}", "xxxxx //bin /usr/local/bin"),
        ("${NONE/a/b}${NONE#x}${A//1/$S}", "x y"),
        ("${L%%o*}|${L##*t}", "|wo"),
    ],
)  # fmt: skip
def test_a_text(text: str, expected: str) -> None:
    assert expand(text, VARIABLES) == expected


def test_the_escape_may_be_a_backtick() -> None:
    assert expand('C:\\a`$A "`"" `` \\$A', VARIABLES, "`") == 'C:\\a$A " ` \\1'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${", "missing '}'"),
        ("${A", "missing '}'"),
        ("${A:-x", "missing '}'"),
        ("${A/x", "missing '/'"),
        ("${A/x/y", "missing '}'"),
        ("${}", "bad substitution"),
        ("${{A}}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${A:x}", r"unsupported modifier \(:x\)"),
        ("${A:#x}", r"unsupported modifier \(:#\)"),
        ("${A^^}", r"unsupported modifier \(\^\)"),
        ("${D#a\\.}", r"invalid escape '\\\."),
        ("${A!x}", r"unsupported modifier \(!\)"),
        ("'a", "matching single-quote"),
        ('"a', "matching double-quote"),
        ('"a\\', "matching double-quote"),
        ("${A:-'x}", "matching single-quote"),
        ("${NONE:?set it}", "^NONE: set it$"),
        ("${NONE?}", "^NONE: is not allowed to be unset$"),
        ("${E:?}", "^E: is not allowed to be empty$"),
    ],
)
def test_what_makes_no_sense(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        expand(text, VARIABLES)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b\tc", ("a", "b", "c")),
        ("", ()),
        ("\"\" '' $NONE", ()),
        ("$S", ("x", "y")),
        ('"$S"z $S$A', ("x yz", "x", "y1")),
        ("a\\ b c", ("a b", "c")),
        ("${NONE:-a b}", ("a", "b")),
    ],
)
def test_words_are_split_after_variables_were_put_in(text: str, expected: tuple[str, ...]) -> None:
    assert expand_words(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 'b' \"$A\"\n", "a 'b' \"1\"\n"),
        ("it's ${S}\n\n $NONE|", "it's x y\n\n |"),
        ("\\\n", "\n"),
        ("\\\\ \\$A \\n", "\\ $A n"),
        ("${NONE:-'q'} ${A:+\"}", "'q' \""),
    ],
)
def test_a_document_keeps_its_quotes(text: str, expected: str) -> None:
    assert expand_document(text, VARIABLES) == expected


def test_raw_words_stay_as_they_are_written() -> None:
    text = """cat <<"E F" $A "b $A \\" c" ${A:-x y} \\' 'd e'"""
    assert raw_words(text) == ("cat", '<<"E F"', "$A", '"b $A \\" c"', "${A:-x", "y}", "\\'", "'d e'")


@pytest.mark.parametrize(
    "text",
    [
        "$" * 300_000,
        "\\" * 300_000,
        "'" * 300_000,
        '"' * 300_000,
        "${A:-" * 60_000,
        "${A" * 100_000,
        "${A:-x}" * 40_000,
        "${A#" + "*a" * 100_000 + "}",
        "${A//" + "?" * 2_000 + "/x}",
        " x" * 100_000,
    ],
)
def test_evil_text_takes_no_more_than_its_length_asks_for(text: str) -> None:
    begin = time.process_time()
    for read in (expand, expand_words):
        try:
            read(text, VARIABLES)
        except InvalidArgument:
            pass
    assert time.process_time() - begin < 10


@pytest.mark.parametrize("pattern", ["*a*a*a*a*b", "a*a*a*a*b", "?*?*?*b", "*b*"])
def test_a_pattern_that_hardly_matches_does_not_blow_up(pattern: str) -> None:
    begin = time.process_time()
    for operator in ("#", "##", "%", "%%", "/", "//"):
        end = "/x}" if operator.startswith("/") else "}"
        expand(f"${{A{operator}{pattern}{end}", {"A": "a" * 100_000})
    assert time.process_time() - begin < 10


def test_a_result_has_its_limit() -> None:
    with pytest.raises(InvalidArgument, match="too long"):
        expand("$A" * 10, {"A": "x" * (LONGEST // 9)})
    with pytest.raises(InvalidArgument, match="too long"):
        expand(f'"{"$A" * 10}"', {"A": "x" * (LONGEST // 9)})


def test_nesting_has_its_limit() -> None:
    assert expand("${N:-" * 100 + "x" + "}" * 100, {}) == "x"
    with pytest.raises(InvalidArgument, match="inside each other"):
        expand("${N:-" * 101 + "x" + "}" * 101, {})
