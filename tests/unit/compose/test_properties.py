"""What must hold of any input: generated, the same ones every time, a few seconds in all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackrun import units
from stackrun.api.stacks import StackSource
from stackrun.compose.canonical import canonicalize
from stackrun.compose.dotenv import parse_env
from stackrun.compose.faults import Faults
from stackrun.compose.load import load
from stackrun.compose.merge import merge
from stackrun.compose.render import to_json, to_yaml
from stackrun.compose.shortforms import ShortFormError, parse_ports, split_command
from stackrun.compose.template import TemplateError, substitute, variables
from stackrun.compose.tree import Map, Place, Seq, copy, plain
from stackrun.errors import ComposeError, InvalidArgument

few = settings(derandomize=True, deadline=None, max_examples=120, database=None, suppress_health_check=list(HealthCheck))
fewer = settings(few, max_examples=60)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufeff\ufffe\uffff"), max_size=12)


# --- interpolation --------------------------------------------------------------------------------


@few
@given(TEXT)
def test_a_doubled_dollar_is_one(text: str) -> None:
    assert substitute(text.replace("$", "$$"), {}.get) == text


@few
@given(st.text("${}:-?+AB$ ", max_size=16), st.dictionaries(st.sampled_from("AB"), TEXT))
def test_a_template_is_replaced_or_refused(text: str, values: dict[str, str]) -> None:
    named: list[str] = []
    try:
        substitute(text, values.get, unset=named.append)
    except TemplateError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert set(named) <= {variable.name for variable in variables(text)} - values.keys()


@few
@given(NAMES, TEXT, TEXT)
def test_every_form_of_a_variable(name: str, value: str, other: str) -> None:
    literal = other.replace("$", "$$").replace("}", "")
    for operator, present, absent in ((":-", value or literal, literal), ("-", value, literal), (":+", literal if value else "", "")):
        text = f"${{{name}{operator}{literal}}}"
        if operator != ":+" or value:
            assert substitute(text, {name: value}.get) == present.replace("$$", "$") or present == value
        assert substitute(text, {}.get) == absent.replace("$$", "$")


# --- units ----------------------------------------------------------------------------------------


@few
@given(st.integers(0, 10**6 * 10**9))
def test_a_duration_is_read_as_it_is_printed(nanoseconds: int) -> None:
    text = units.format_duration(nanoseconds / 1e9)
    assert round(units.parse_duration(text) * 1e9) == pytest.approx(nanoseconds, abs=nanoseconds * 1e-9 + 1)
    assert units.format_duration(units.parse_duration(text)) == text


@few
@given(st.integers(0, 1 << 50), st.sampled_from(["", "b", "k", "kb", "KiB", "m", "MB", "g", "gib", "t"]))
def test_a_size_has_one_meaning_whatever_its_spelling(count: int, unit: str) -> None:
    factor = 1024 ** " kmgt".find(unit[:1].lower() or " ") if unit not in ("", "b") else 1
    count %= 1 << 20
    assert units.parse_bytes(f"{count}{unit}") == count * factor == units.parse_bytes(f"{count} {unit}".rstrip())


@few
@given(st.text("0123456789.smhkgb -+eE", max_size=8))
def test_odd_numbers_are_read_or_refused(text: str) -> None:
    for parse in (units.parse_bytes, units.parse_duration):
        try:
            parse(text)
        except InvalidArgument:
            pass


# --- short forms ----------------------------------------------------------------------------------

PORTS = st.builds(
    lambda address, published, target, protocol: f"{address}{published}{target}{protocol}",
    st.sampled_from(["", "127.0.0.1:", "[::1]:", "0.0.0.0:"]),
    st.one_of(st.just(":").map(lambda _: ""), st.integers(0, 65535).map(lambda port: f"{port}:")),
    st.integers(1, 65535),
    st.sampled_from(["", "/tcp", "/udp", "/sctp"]),
).filter(lambda text: text[0].isdigit() or text.count(":") != 3)


@few
@given(PORTS)
def test_a_port_is_the_same_in_both_forms(text: str) -> None:
    """Long → short → long; an address without a published port is written with an empty one."""
    if text.startswith(("127.", "0.0.", "[")) and text.count(":") - text.count("::") * 2 < 2:
        return
    (port,) = parse_ports(text)
    address = f"[{port['host_ip']}]" if ":" in port.get("host_ip", "") else port.get("host_ip", "")
    published = port.get("published", "")
    head = f"{address}:{published}:" if address else f"{published}:" if published else ""
    assert parse_ports(f"{head}{port['target']}/{port['protocol']}") == [port]


@few
@given(st.integers(1, 65000), st.integers(0, 20), st.integers(1, 65000))
def test_a_range_is_its_ports(first: int, more: int, host: int) -> None:
    ports = parse_ports(f"{host}-{host + more}:{first}-{first + more}")
    assert {(port["target"], port["published"]) for port in ports} == {(first + n, str(host + n)) for n in range(more + 1)}


@few
@given(st.text("0123456789:-/.[]tcpud %", max_size=14))
def test_odd_ports_are_read_or_refused(text: str) -> None:
    try:
        assert parse_ports(text)
    except ShortFormError as error:
        assert error.message


@few
@given(st.lists(TEXT.filter(bool), max_size=4))
def test_quoted_words_are_a_command_s_words(words: list[str]) -> None:
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    assert split_command(quoted) == (words, "")


# --- env files ------------------------------------------------------------------------------------


@few
@given(st.dictionaries(NAMES, TEXT, max_size=4))
def test_what_single_quotes_hold_stays_as_it_is(values: dict[str, str]) -> None:
    kept = {name: value.replace("'", "").replace("\\", "") for name, value in values.items()}
    faults = Faults()
    assert parse_env("".join(f"{name}='{value}'\n" for name, value in kept.items()), "e", faults) == kept
    assert not faults


@few
@given(st.text("AB=:'\"\\\n #$x{}-", max_size=20))
def test_odd_env_files_are_read_or_refused(text: str) -> None:
    faults = Faults()
    found = parse_env(text, "e", faults)
    assert all(isinstance(value, str) for value in found.values())


# --- merge ----------------------------------------------------------------------------------------

LABELS = st.dictionaries(NAMES, TEXT, max_size=3)
SERVICE: Any = st.fixed_dictionaries(
    {},
    optional={
        "image": NAMES,
        "environment": LABELS,
        "labels": LABELS,
        "command": st.lists(NAMES, max_size=3),
        "cap_add": st.lists(NAMES, max_size=3, unique=True),
        "hostname": NAMES,
        "deploy": st.fixed_dictionaries({"replicas": st.integers(0, 3), "labels": LABELS}),
        "healthcheck": st.fixed_dictionaries({"retries": st.integers(0, 9)}),
    },
)
STACK = st.dictionaries(st.sampled_from("abc"), SERVICE, max_size=3).map(lambda services: {"services": services})


def tree(value: Any) -> Any:
    if isinstance(value, dict):
        return Map({key: tree(item) for key, item in value.items()}, Place("f", 1, 1))
    return Seq([tree(item) for item in value], Place("f", 1, 1)) if isinstance(value, list) else value


def laid(*trees: Map) -> Map:
    """The files one over the other, each in canonical form before the next."""
    from stackrun.compose.merge import unique

    result = Map()
    for one in trees:
        result = merge(result, copy(one), Faults())
        unique(result)
        canonicalize(result, Faults())
    return result


def meaning(value: Map) -> Any:
    """Lists of NAME=VALUE as mappings, the order of capabilities left out."""
    result = plain(value)
    for service in result.get("services", {}).values():
        for node in (service, service.get("deploy", {})):
            for key in ("environment", "labels"):
                if isinstance(node.get(key), list):
                    node[key] = dict(item.partition("=")[::2] for item in node[key])
        service["cap_add"] = sorted(service.get("cap_add", ()))
    return result


@fewer
@given(STACK)
def test_a_file_over_itself_or_over_nothing_is_itself(stack: Any) -> None:
    one = tree(stack)
    assert meaning(laid(one, one)) == meaning(laid(one)) == meaning(laid(Map(), one)) == meaning(laid(one, Map()))


@fewer
@given(STACK, STACK, STACK)
def test_merging_is_associative(first: Any, second: Any, third: Any) -> None:
    a, b, c = tree(first), tree(second), tree(third)
    assert meaning(laid(laid(a, b), c)) == meaning(laid(a, laid(b, c)))


@fewer
@given(STACK, STACK)
def test_merging_changes_neither_side(first: Any, second: Any) -> None:
    a, b = tree(first), tree(second)
    merge(a, b, Faults())
    assert (plain(a), plain(b)) == (plain(tree(first)), plain(tree(second)))


# --- config ---------------------------------------------------------------------------------------

ANY_SERVICE: Any = st.fixed_dictionaries(
    {"image": st.one_of(NAMES, st.just("x:1"))},
    optional={
        "environment": st.dictionaries(NAMES, st.one_of(TEXT, st.none(), st.integers(), st.booleans(), st.floats(-1e6, 1e6)), max_size=3),
        "labels": st.dictionaries(NAMES, TEXT, max_size=3),
        "command": st.one_of(st.lists(TEXT, max_size=3), NAMES),
        "ports": st.lists(st.integers(1, 65535), max_size=3, unique=True),
        "stop_grace_period": st.integers(1, 10**4).map(lambda seconds: f"{seconds}s"),
        "mem_limit": st.integers(0, 1 << 40),
        "ulimits": st.dictionaries(NAMES, st.integers(-1, 1 << 30), max_size=2),
        "blkio_config": st.fixed_dictionaries({"device_read_bps": st.just([{"path": "/dev/sda", "rate": "1m"}])}),
        "tmpfs": st.lists(NAMES.map(lambda name: f"/{name}"), max_size=2, unique=True),
        "healthcheck": st.fixed_dictionaries({"test": TEXT.filter(bool), "interval": st.just("90s"), "retries": st.integers(0, 9)}),
        "secrets": st.just(["s"]),
        "extra_hosts": st.just(["a:1.2.3.4", "b=::1"]),
        "x-own": st.recursive(st.one_of(TEXT, st.integers(), st.none()), lambda inner: st.lists(inner, max_size=2), max_leaves=3),
    },
)


def printed(text: str) -> tuple[str, str]:
    project = load(StackSource("/nowhere", ("-",), stdin=text, environment={"HOME": "/h"}), for_up=False)
    return to_json(project.to_dict()), to_yaml(project.to_dict())


@fewer
@given(st.dictionaries(NAMES, ANY_SERVICE, min_size=1, max_size=2))
def test_config_reads_its_own_output_as_itself(services: Any) -> None:
    stack = {"name": "fixed", "services": services, "secrets": {"s": {"environment": "HOME"}}, "x-top": {"a": ["$1", "${b"]}}
    text = json.dumps(stack).replace("$", "$$")
    try:
        as_json, as_yaml = printed(text)
    except ComposeError as error:  # a control character that YAML has no word for, or a name used twice
        assert error.diagnostics
        return
    assert printed(as_json)[0] == as_json
    assert printed(as_yaml) == (as_json, as_yaml)
