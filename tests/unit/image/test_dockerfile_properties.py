"""Whatever a Dockerfile says: a value or InvalidArgument, right lines, and a time that its length explains."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackrun.errors import InvalidArgument
from stackrun.image.dockerfile import examine, expand, expand_words, needed_stages, parse, parse_instruction
from stackrun.image.dockerfile_words import json_words, quoted_words
from stackrun.image.instructions import Copy, Env, Run

KEYWORDS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "RUN", "SHELL",
    "STOPSIGNAL", "USER", "VOLUME", "WORKDIR", "FOO", "#", "# escape=`", "",
)  # fmt: skip
WORDS = (
    "a", "=", "A=1", '"', "'", "\\", "`", "$", "${", "${A:-", "}", "[", "]", '["a", "b"]', "<<E", "<<-'E'", "E", "--from=a", "--x", "--",
    "--mount=type=bind", "\\\n", "\n", "\r\n", "\t", " ", "# c\n", "AS", "CMD", "NONE", "\ufeff", "\0", "é", "\ud800", "1-2/udp", ",", ":",
)  # fmt: skip

some_text = st.lists(st.one_of(st.sampled_from(KEYWORDS), st.sampled_from(WORDS), st.text(max_size=4)), max_size=40).map(" ".join)
some_file = st.lists(some_text, max_size=12).map("\n".join)


@settings(max_examples=150, deadline=None)
@given(st.one_of(some_file, st.text(), some_file.map(lambda text: f"FROM a AS b\n{text}")))
def test_any_text_is_a_dockerfile_or_has_faults_at_its_lines(text: str) -> None:
    last = text.count("\n") + 1
    found, faults = examine(text)
    assert all(0 <= fault.line <= last and fault.message for fault in faults)
    assert [fault.line for fault in faults] == sorted(fault.line for fault in faults)
    try:
        assert parse(text) == found
        assert not faults
    except InvalidArgument as error:
        assert faults
        assert all(fault.message in error.message for fault in faults)
        return
    lines = [stage.line for stage in found.stages]
    lines += [one.line for stage in found.stages for one in stage.instructions]
    assert all(1 <= line <= last for line in lines)
    try:
        assert set(needed_stages(found)) <= set(range(len(found.stages)))
    except InvalidArgument:
        pass


@settings(max_examples=150, deadline=None)
@given(some_text, st.sampled_from("\\`"))
def test_any_text_is_expanded_or_refused(text: str, escape: str) -> None:
    for read in (expand, expand_words):
        try:
            read(text, {"A": "x y", "B": ""}, escape)
        except InvalidArgument:
            pass


@settings(max_examples=150, deadline=None)
@given(some_text)
def test_any_text_is_an_instruction_or_refused(text: str) -> None:
    try:
        parse_instruction(text)
    except InvalidArgument:
        pass


plain = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), max_size=20)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), plain, min_size=1, max_size=5))
def test_a_quoted_value_comes_back_as_it_was(values: dict[str, str]) -> None:
    quoted = {name: '"' + "".join("\\" + one if one in '"\\$' else one for one in value) + '"' for name, value in values.items()}
    found = parse_instruction("ENV " + " ".join(f"{name}={value}" for name, value in quoted.items()))
    assert isinstance(found, Env)
    assert {name: expand(value, {"A": "wrong"}) for name, value in found.pairs} == values


@settings(max_examples=100, deadline=None)
@given(st.lists(plain, min_size=2, max_size=5), st.booleans())
def test_json_words_come_back_as_they_were(words: list[str], is_ascii: bool) -> None:
    text = json.dumps(words, ensure_ascii=is_ascii)
    assert json_words(text) == tuple(words)
    found = parse_instruction(f"COPY {text}")
    assert isinstance(found, Copy)
    assert (*found.sources, found.target) == tuple(words)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["RUN a", "RUN b \\\n c", "# d", "", "RUN <<E\nFROM\nE", "RUN e \\\n# f\n\n g", "USER h"]), max_size=12))
def test_every_instruction_is_at_its_first_line(blocks: list[str]) -> None:
    text = "FROM x\n" + "\n".join(blocks)
    expected, line = [], 2
    for block in blocks:
        if block and not block.startswith("#"):
            expected.append(line)
        line += block.count("\n") + 1
    assert [one.line for one in parse(text).stages[0].instructions] == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), max_size=12), max_size=6))
def test_a_here_document_comes_back_as_it_was(lines: list[str]) -> None:
    content = "".join(f"{line}\n" for line in lines if line.rstrip("\r") != "E")
    found = parse_instruction(f"RUN <<'E'\n{content}E")
    assert isinstance(found, Run)
    assert (found.script, found.heredocs[0].content) == (content, content)


@settings(max_examples=150, deadline=None)
@given(some_text)
def test_words_are_parts_of_the_text(text: str) -> None:
    words = quoted_words(text, "\\")
    position = 0
    for word in words:
        position = text.index(word, position) + len(word)


SIZE = 65_000  # of a line; what has many lines is as long


@pytest.mark.parametrize(
    "text",
    [
        "RUN " + "$" * SIZE,
        "RUN " + "\\" * SIZE,
        "ENV A=" + "\\" * SIZE,
        "ENV A=" + '"' * (SIZE + 1),
        "ENV A=" + "'" * (SIZE + 1),
        "ENV " + "a=" * SIZE,
        "ENV " + "a=b " * (SIZE // 4),
        "ENV A=" + '"\\' * (SIZE // 2),
        "ENV A=" + "${a:-" * (SIZE // 5),
        "RUN " + "<<E " * (SIZE // 4),
        "RUN " + "<<" * (SIZE // 2),
        "COPY " + "--x=" * (SIZE // 4),
        "COPY " + "--link " * (SIZE // 7),
        "COPY --exclude=" + "'" * SIZE,
        "CMD " + "[" * SIZE,
        "CMD [" + "1" * SIZE + "]",
        "CMD [" + '"a",' * (SIZE // 4) + '"b"]',
        "x" * SIZE,
        "ONBUILD " * (SIZE // 8),
        "HEALTHCHECK --interval=" + "1h" * (SIZE // 2) + " CMD a",
        "HEALTHCHECK --retries=" + "9" * SIZE + " CMD a",
        "RUN a \\\n" * (SIZE // 8),
        "RUN \\\n" + "# c\n" * (SIZE // 4),
        "FROM x\n" * (SIZE // 7),
        "\n".join(f"FROM x AS a{index}" for index in range(SIZE // 15)),
        "ARG A=1\n" * (SIZE // 8),
        "FRM\n" * (SIZE // 4),
        "EXPOSE " + "1-65535 " * (SIZE // 8),
        "# escape=" + " " * SIZE + "x",
        "#" + " " * SIZE + "a",
        " " * SIZE,
        "RUN --mount=" + '"' * SIZE + " a",
        "RUN --mount=" + "a," * SIZE + " a",
        "RUN " + "a<<" * SIZE,
        "RUN a << b\n" * (SIZE // 11),
        "RUN a << b\n" * (SIZE // 22) + "\tb\n" * (SIZE // 6),
        "RUN a <<b\nb\n" * (SIZE // 12),
    ],
)
def test_evil_text_takes_no_more_than_its_length_asks_for(text: str) -> None:
    begin = time.process_time()
    for whole in (text, f"FROM x\n{text}"):
        try:
            found = parse(whole)
            needed_stages(found)
            for one in found.stages[0].instructions:
                if isinstance(one, Env):
                    expand(one.pairs[0][1], {})
        except InvalidArgument:
            pass
    assert time.process_time() - begin < 10
