"""Instructions: what each one takes, and what is wrong with the others."""

from __future__ import annotations

import pytest

from stackrun.errors import InvalidArgument
from stackrun.image.dockerfile import examine, parse, parse_instruction
from stackrun.image.instructions import (
    Arg,
    Check,
    Command,
    Copy,
    Env,
    Expose,
    Heredoc,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Run,
    RunMount,
    Shell,
    Stage,
    StopSignal,
    User,
    VolumePaths,
    Workdir,
)

CACHE = RunMount("cache", {"target": "/x", "ro": "true"})
BIND = RunMount("bind", {"from": "b", "source": "/s", "target": "/t"})


def shell(keyword: str, text: str) -> Command:
    return Command(1, keyword, text=text, is_shell=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ARG A", Arg(1, {"A": None})),
        ("ARG A= B=\"x y\" C='$A'", Arg(1, {"A": "", "B": '"x y"', "C": "'$A'"})),
        ("ENV A=1 B=\"x y\" C=a\\ b D='it is' E=", Env(1, (("A", "1"), ("B", '"x y"'), ("C", "a\\ b"), ("D", "'it is'"), ("E", "")))),
        ('ENV A  1 2  "3"', Env(1, (("A", '1 2  "3"'),))),
        ("ENV A=x=y", Env(1, (("A", "x=y"),))),
        ('LABEL "a b"=c d.e=f', Label(1, (('"a b"', "c"), ("d.e", "f")))),
        ("label a b", Label(1, (("a", "b"),))),
        ("CMD echo  $A", shell("CMD", "echo  $A")),
        ('CMD [ "a" , "b \\u0041" ]', Command(1, "CMD", ("a", "b A"))),
        ("CMD []", Command(1, "CMD")),
        ("CMD ['a']", shell("CMD", "['a']")),
        ('CMD ["a"] b', shell("CMD", '["a"] b')),
        ('CMD ["a",]', shell("CMD", '["a",]')),
        ("CMD [NaN]", shell("CMD", "[NaN]")),
        ('CMD ["\\ud800"]', Command(1, "CMD", ("�",))),
        ('ENTRYPOINT ["a"]', Command(1, "ENTRYPOINT", ("a",))),
        ("entrypoint a b", shell("ENTRYPOINT", "a b")),
        ('SHELL ["/bin/bash", "-c"]', Shell(1, ("/bin/bash", "-c"))),
        ("EXPOSE 80 8000-8010/udp\t$P", Expose(1, ("80", "8000-8010/udp", "$P"))),
        ("VOLUME /a  /b", VolumePaths(1, ("/a", "/b"))),
        ('VOLUME ["/a b", " /c "]', VolumePaths(1, ("/a b", "/c"))),
        ("USER a b", User(1, "a b")),
        ("WORKDIR /a b", Workdir(1, "/a b")),
        ("STOPSIGNAL $S", StopSignal(1, "$S")),
        ("MAINTAINER Some One <a@b>", Maintainer(1, "Some One <a@b>")),
        ("ONBUILD  RUN  make", OnBuild(1, "RUN  make")),
        ("ONBUILD COPY --from=a b c", OnBuild(1, "COPY --from=a b c")),
        ("HEALTHCHECK none", Check(1, none=True)),
        ("HEALTHCHECK CMD a b", Check(1, shell("CMD", "a b"))),
        (
            'HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=1h --start-interval=2s --retries=3 CMD ["a"]',
            Check(1, Command(1, "CMD", ("a",)), False, 90.0, 0.5, 3600.0, 2.0, 3),
        ),
        ("HEALTHCHECK --interval=0s --retries=0 CMD\ta", Check(1, shell("CMD", "a"))),
        ("RUN a && b", Run(1, text="a && b")),
        ('RUN ["a", "b"]', Run(1, ("a", "b"), is_shell=False)),
        ("RUN --network=none --security=insecure a", Run(1, text="a", network="none", security="insecure")),
        (
            "RUN --mount=type=cache,target=/x,ro --mount=from=b,source=/s,target=/t a",
            Run(1, text="a", mounts=(CACHE, BIND)),
        ),
        ('RUN --mount="type=secret,id=k" a', Run(1, text="a", mounts=(RunMount("secret", {"id": "k"}),))),
        ("COPY a b c/", Copy(1, "COPY", ("a", "b"), "c/")),
        ('ADD ["a b", "c d"]', Copy(1, "ADD", ("a b",), "c d")),
        (
            "COPY --from=x --chown=1:2 --chmod=755 --link --parents --exclude=*.md --exclude=b a b",
            Copy(1, "COPY", ("a",), "b", (), "x", "1:2", "755", True, True, ("*.md", "b")),
        ),
        ("COPY --link=false a b", Copy(1, "COPY", ("a",), "b")),
        (
            "ADD --checksum=sha256:0 --keep-git-dir=true --unpack=false a b",
            Copy(1, "ADD", ("a",), "b", checksum="sha256:0", keep_git_dir=True, unpack=False),
        ),
        ("COPY <<A b\nx\nA", Copy(1, "COPY", (), "b", (Heredoc("A", "x\n"),))),
        ("CMD -- --x", shell("CMD", "--x")),
    ],
)  # fmt: skip
def test_an_instruction(text: str, expected: Instruction) -> None:
    assert parse_instruction(text) == expected
    indented = "  " + text.replace(" ", "\t", 1)
    assert parse_instruction(indented) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FRM a", "unknown instruction: FRM"),
        ("x" * 300, "unknown instruction: xxx"),
        ("CMD", "CMD requires at least one argument"),
        ("RUN", "RUN requires at least one argument"),
        ("RUN []", "RUN requires at least one argument"),
        ("ENTRYPOINT", "ENTRYPOINT requires at least one argument"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", 'find = in "B". Must be of the form: name=value'),
        ("ENV =1", "ENV names can not be blank"),
        ("LABEL", "LABEL requires at least one argument"),
        ("LABEL a", "LABEL must have two arguments"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =1", "ARG names can not be blank"),
        ("COPY", "COPY requires at least two arguments"),
        ("COPY a", "COPY requires at least two arguments, but only one was provided. Destination could not be determined"),
        ('ADD ["a"]', "ADD requires at least two arguments, but only one was provided"),
        ("COPY a <<B\nB", "COPY cannot accept a heredoc as a destination"),
        ("COPY <<A b\nx", "unterminated heredoc"),
        ("COPY --form=a b c", "unknown flag: --form"),
        ("COPY --from=$A b c", "doesn't support variable expansion"),
        ("COPY --from b c", "missing a value on flag: --from"),
        ("COPY --link= b c", "missing a value on flag: --link"),
        ("COPY --link=maybe b c", "expecting boolean value for flag --link, not: maybe"),
        ("COPY --chown=a --chown=b c d", "duplicate flag specified: --chown"),
        ("COPY --checksum=a b c", "unknown flag: --checksum"),
        ("ADD --from=a b c", "unknown flag: --from"),
        ("USER --x a", "unknown flag: --x"),
        ("RUN --device=x y", "unknown flag: --device"),
        ("RUN --network=foo a", 'network "foo" is not valid'),
        ("RUN --security=foo a", 'security "foo" is not valid'),
        ("RUN --mount=type=foo a", 'unsupported mount type "foo"'),
        ("RUN --mount=typ=bind a", "unexpected key 'typ' in 'typ=bind'"),
        ("RUN --mount=target a", "invalid field 'target' must be a key=value pair"),
        ("RUN --mount=from=$A,target=/x a", "doesn't support variable expansion"),
        ('CMD ["a", 1]', "arrays must be comprised of strings only"),
        ("CMD [[]]", "arrays must be comprised of strings only"),
        ('HEALTHCHECK CMD [1]', "arrays must be comprised of strings only"),
        ("SHELL bash -c", "SHELL requires the arguments to be in JSON form"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK curl x", 'Unknown type "CURL" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --interval=x CMD a", "invalid duration: 'x'"),
        ("HEALTHCHECK --interval=1d CMD a", "invalid duration: '1d'"),
        ("HEALTHCHECK --timeout=1us CMD a", 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=-1s CMD a", 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --retries=-1 CMD a", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=x CMD a", "--retries is no number: x"),
        ("HEALTHCHECK --retries=9999999999 CMD a", "--retries is too much"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER a", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD FOO a", "unknown instruction: FOO"),
        ("ONBUILD COPY a", "COPY requires at least two arguments"),
        ("FROM a", "FROM isn't allowed here"),
        ("", "one instruction is wanted"),
        ("RUN a\nRUN b", "one instruction is wanted"),
        ("RUN a\0b", "NUL character"),
    ],
)  # fmt: skip
def test_an_instruction_that_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_instruction(text)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a", Stage(1, "a")),
        ("from --platform=$BUILDPLATFORM a:${V} as B.c-1_x", Stage(1, "a:${V}", "b.c-1_x", "$BUILDPLATFORM")),
        ("FROM scratch", Stage(1, "scratch")),
    ],
)
def test_from(text: str, expected: Stage) -> None:
    assert parse(text).stages == (expected,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a AS", "FROM requires either one or three arguments"),
        ("FROM a # x", "FROM requires either one or three arguments"),
        ("FROM a AS b c", "FROM requires either one or three arguments"),
        ("FROM a AS 1", 'invalid name for build stage: "1", name can\'t start with a number or contain symbols'),
        ("FROM a AS b/c", 'invalid name for build stage: "b/c"'),
        ("FROM --from=x a", "unknown flag: --from"),
    ],
)
def test_a_from_that_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("FRM x", 'did you mean "FROM"?'),
        ("COPPY a b", 'did you mean "COPY"?'),
        ("COPY --form=a b c", 'did you mean "--from"?'),
        ("RUN --mount=typ=bind a", 'did you mean "type"?'),
        ("RUN --mount=type=cahce a", 'did you mean "cache"?'),
        ("USER --x a", "USER has no flags"),
        ("HEALTHCHECK --foo CMD a", "HEALTHCHECK has --interval, --timeout, --start-period, --start-interval, --retries"),
    ],
)
def test_the_nearest_word_is_told(word: str, hint: str) -> None:
    assert examine(f"FROM a\n{word}")[1][0].hint == hint
