"""Small generators of stack files that ask for more time or memory than anyone should give; each under a megabyte."""

from __future__ import annotations

from collections.abc import Callable

Files = dict[str, str | bytes]
BOMBS: dict[str, Callable[[], Files]] = {}
SIZE = 900_000


def bomb(make: Callable[[], Files | str | bytes]) -> Callable[[], Files | str | bytes]:
    """Registers a generator; text alone is `compose.yaml`."""

    def files() -> Files:
        made = make()
        return made if isinstance(made, dict) else {"compose.yaml": made}

    BOMBS[make.__name__] = files
    return make


def service(body: str, head: str = "") -> str:
    return f"{head}services:\n  a:\n    image: x\n{body}"


def services(count: int, body: str = "    image: x\n") -> str:
    return "services:\n" + "".join(f"  s{number}:\n{body}" for number in range(count))


def doubling(first: str, link: Callable[[int], str], levels: int = 40) -> str:
    return first + "".join(link(number) for number in range(1, levels))


# --- aliases --------------------------------------------------------------------------------------


@bomb
def laughs_in_lists() -> str:
    chain = doubling("x-0: &a0 [lol, lol]\n", lambda n: f"x-{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n")
    return service("    x-b: *a39\n", chain)


@bomb
def laughs_in_mappings() -> str:
    chain = doubling("x-0: &a0 {a: lol}\n", lambda n: f"x-{n}: &a{n} {{a: *a{n - 1}, b: *a{n - 1}}}\n")
    return service("    labels: *a39\n", chain)


@bomb
def laughs_in_merge_keys() -> str:
    chain = doubling("x-0: &a0 {a: lol}\n", lambda n: f"x-{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: *a{n - 1}}}\n")
    return service("    labels: {<<: *a39}\n", chain)


@bomb
def wide_merge_keys() -> str:
    wide = "x-w: &w {" + ",".join(f"k{n}: 1" for n in range(5000)) + "}\n"
    return service("    labels: {<<: [" + ",".join(["*w"] * 200_000) + "]}\n", wide)


@bomb
def nested_merge_of_wide() -> str:
    wide = "x-w: &w {" + ",".join(f"k{n}: 1" for n in range(2000)) + "}\n"
    return wide + services(20_000, "    {image: x, labels: {<<: *w}}\n")


@bomb
def laughs_in_keys() -> str:
    chain = doubling("x-0: &a0 [lol, lol]\n", lambda n: f"x-{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n")
    return service("    labels: {? *a39 : 1}\n", chain)


@bomb
def many_aliases_of_a_long_string() -> str:
    return service("    command: [" + ",".join(["*s"] * 130_000) + "]\n", f"x-s: &s {'s' * 300_000}\n")


@bomb
def many_aliases_of_a_long_string_in_labels() -> str:
    labels = "".join(f"      k{n}: *s\n" for n in range(40_000))
    return service(f"    labels:\n{labels}", f"x-s: &s {'s' * 300_000}\n")


@bomb
def many_aliases_of_a_long_default() -> str:
    labels = "".join(f"      k{n}: *s\n" for n in range(40_000))
    return service(f"    labels:\n{labels}", f'x-s: &s "{"$$" * 150_000}"\n')


@bomb
def many_aliases_of_variables() -> str:
    labels = "".join(f"      k{n}: *s\n" for n in range(20_000))
    return service(f"    labels:\n{labels}", f'x-s: &s "{"${A:-b}" * 30_000}"\n')


@bomb
def many_aliases_of_a_service() -> str:
    base = "x-s: &s\n  image: x\n  ports: ['80']\n  labels: {" + ",".join(f"a{n}: b" for n in range(1000)) + "}\n"
    return base + "services:\n" + "".join(f"  s{n}: *s\n" for n in range(60_000))


@bomb
def anchor_in_itself() -> str:
    return "services: &s\n  a: *s\n"


@bomb
def anchor_as_its_own_merge() -> str:
    return "x-a: &a\n  <<: *a\n  b: &b [*b]\nservices: {a: {image: x}}\n"


@bomb
def many_anchors() -> str:
    return service("", "x-a:\n" + "".join(f"- &a{n} b\n" for n in range(70_000)))


@bomb
def same_anchor_many_times() -> str:
    return service("", "x-a:\n" + "- &a b\n" * 120_000)


@bomb
def long_anchor() -> str:
    name = "a" * 400_000
    return service("", f"x-a: &{name} b\nx-b: *{name}\n")


# --- extends, include, many files -------------------------------------------------------------------


@bomb
def extends_that_double() -> str:
    text = "services:\n  s0: {image: x, labels: [a=1, a=2], command: [a, b], ports: ['80-89'], dns: [1.1.1.1, 2.2.2.2]}\n"
    return text + "".join(
        f"  s{n}: {{extends: {{service: s{n - 1}}}, ports: ['{n}000-{n}900'], dns: [1.1.1.1], cap_add: [A{n}]}}\n" for n in range(1, 60)
    )


@bomb
def long_extends_chain() -> str:
    return "services:\n  s0: {image: x}\n" + "".join(f"  s{n}: {{extends: s{n - 1}}}\n" for n in range(1, 30_000))


@bomb
def long_extends_chain_backwards() -> str:
    return "services:\n" + "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(30_000)) + "  s30000: {image: x}\n"


@bomb
def extends_chains_of_wide_services() -> str:
    wide = ",".join(f"l{n}: 1" for n in range(20_000))
    return f"services:\n  s0: {{image: x, labels: {{{wide}}}}}\n" + "".join(f"  s{n}: {{extends: s{n - 1}}}\n" for n in range(1, 99))


@bomb
def many_extend_a_wide_one() -> str:
    wide = ",".join(f"l{n}: 1" for n in range(10_000))
    return f"services:\n  s: {{image: x, labels: {{{wide}}}}}\n" + "".join(f"  s{n}: {{extends: s}}\n" for n in range(30_000))


@bomb
def many_extend_a_wide_one_of_another_file() -> Files:
    wide = ",".join(f"l{n}: 1" for n in range(10_000))
    return {
        "compose.yaml": services(15_000, "    extends: {file: b.yaml, service: s}\n"),
        "b.yaml": f"services:\n  s: {{image: x, labels: {{{wide}}}}}\n",
    }


@bomb
def extends_circle() -> str:
    return "services:\n" + "".join(f"  s{n}: {{extends: s{(n + 1) % 10_000}}}\n" for n in range(10_000))


@bomb
def extends_itself() -> str:
    return "services:\n  a: {extends: a}\n  b: {extends: {service: b, file: compose.yaml}}\n"


@bomb
def extends_files_in_a_tree() -> Files:
    """Each service of a file extends two of the next."""
    return {
        "compose.yaml": "services:\n" + "".join(f"  s{n}: {{extends: {{file: f0.yaml, service: s{n}}}}}\n" for n in range(300)),
        **{
            f"f{level}.yaml": "services:\n"
            + "".join(f"  s{n}: {{image: x, extends: {{file: f{level + 1}.yaml, service: s{n}}}}}\n" for n in range(300))
            for level in range(40)
        },
        "f40.yaml": services(300),
    }


@bomb
def include_circle() -> Files:
    return {"compose.yaml": "include: [b.yaml]\nservices: {a: {image: x}}\n", "b.yaml": "include: [compose.yaml]\n"}


@bomb
def include_fans_out() -> Files:
    files: Files = {f"f{n}.yaml": f"include: [f{n + 1}.yaml, f{n + 1}.yaml]\nservices: {{s{n}: {{image: x}}}}\n" for n in range(40)}
    return files | {"compose.yaml": "include: [f0.yaml]\n", "f40.yaml": "services: {z: {image: x}}\n"}


@bomb
def include_the_same_file_often() -> Files:
    return {"compose.yaml": "include:\n" + "- b.yaml\n" * 90_000, "b.yaml": services(200)}


@bomb
def include_many_missing_files() -> str:
    return "include:\n" + "".join(f"- f{n}.yaml\n" for n in range(60_000))


@bomb
def many_documents() -> str:
    return "services: {a: {image: x}}\n---\n" * 30_000


@bomb
def many_documents_over_a_wide_one() -> str:
    return services(5000) + "---\nservices: {s1: {image: x}}\n" * 20_000


@bomb
def many_empty_documents() -> str:
    return service("") + "---\n" * 200_000


@bomb
def many_resets() -> str:
    return service("    labels:\n" + "".join(f"      k{n}: !reset null\n" for n in range(40_000)))


@bomb
def resets_deep_down() -> str:
    return service("    x-a:\n" + "".join(" " * (5 + n) + "a:\n" for n in range(110)) + " " * 120 + "- !reset b\n" * 6000)


@bomb
def override_of_everything() -> str:
    return "services: !override\n" + "".join(f"  s{n}: !override {{image: !override x}}\n" for n in range(20_000))


# --- variables ----------------------------------------------------------------------------------------


@bomb
def nested_defaults() -> str:
    return service("    hostname: '" + "${A:-" * 150_000 + "x" + "}" * 150_000 + "'\n")


@bomb
def nested_defaults_below_the_limit() -> str:
    one = "${A:-" * 49 + "x" + "}" * 49
    return service("    command: ['" + one * 2900 + "']\n")


@bomb
def unclosed_braces() -> str:
    return service("    hostname: '" + "${A:-" * 180_000 + "'\n")


@bomb
def unclosed_braces_one_by_one() -> str:
    return service("    labels:\n" + "".join(f"      k{n}: '{'${A' * 10}'\n" for n in range(18_000)))


@bomb
def many_unset_variables() -> str:
    return service("    command: '" + "".join(f"$A{n} " for n in range(110_000)) + "'\n")


@bomb
def wrong_variables() -> str:
    return service("    command:\n" + "".join(f"    - '${{A={n}'\n" for n in range(50_000)))


@bomb
def dollars() -> str:
    return service("    command: '" + "$" * SIZE + "'\n")


@bomb
def a_variable_that_doubles_in_dotenv() -> Files:
    lines = "A0=xxxxxxxxxx\n" + "".join(f"A{n}=${{A{n - 1}}}${{A{n - 1}}}\n" for n in range(1, 60))
    return {"compose.yaml": service("    hostname: ${A59}\n"), ".env": lines}


@bomb
def a_variable_that_doubles_in_an_env_file() -> Files:
    lines = "A0=xxxxxxxxxx\n" + "".join(f"A{n}=${{A{n - 1}}}${{A{n - 1}}}\n" for n in range(1, 60))
    return {"compose.yaml": service("    env_file: e.env\n"), "e.env": lines}


@bomb
def a_long_variable_used_often() -> Files:
    return {"compose.yaml": service("    command: '" + "$A" * 400_000 + "'\n"), ".env": "A=" + "x" * 400_000}


@bomb
def a_variable_of_itself_in_dotenv() -> Files:
    return {"compose.yaml": service("    hostname: ${A}\n"), ".env": "A=${A}${A}\n" * 60_000}


@bomb
def an_env_file_with_one_quote_open() -> Files:
    return {"compose.yaml": service("    env_file: e.env\n"), "e.env": 'A="' + "b\n" * 450_000}


@bomb
def an_env_file_of_open_quotes() -> Files:
    return {"compose.yaml": service("    env_file: e.env\n"), "e.env": "A='b\nB=\"c\n" * 80_000 + "C='\n"}


@bomb
def an_env_file_of_quotes_that_never_close() -> Files:
    return {"compose.yaml": service("    env_file: e.env\n"), "e.env": "A='\\'\n" * 120_000}


@bomb
def an_env_file_of_wrong_names() -> Files:
    return {"compose.yaml": service("    env_file: e.env\n"), "e.env": "A B=c\n" * 150_000}


@bomb
def an_env_file_of_equals_signs() -> Files:
    return {"compose.yaml": service("    env_file: e.env\n"), "e.env": "=\n" * 450_000}


@bomb
def an_env_file_used_by_many() -> Files:
    lines = "".join(f"A{n}=b\n" for n in range(40_000))
    return {"compose.yaml": services(10_000, "    {image: x, env_file: e.env}\n"), "e.env": lines}


@bomb
def an_env_file_named_often() -> Files:
    lines = "".join(f"A{n}=b\n" for n in range(20_000))
    return {"compose.yaml": service("    env_file:\n" + "    - e.env\n" * 60_000), "e.env": lines}


@bomb
def label_files_used_by_many() -> Files:
    lines = "".join(f"A{n}=b\n" for n in range(40_000))
    return {"compose.yaml": services(10_000, "    {image: x, label_file: e.env}\n"), "e.env": lines}


# --- YAML that is slow to scan -----------------------------------------------------------------------


@bomb
def flow_list() -> str:
    return service("    x-a: [" + "a," * 440_000 + "]\n")


@bomb
def flow_list_of_mappings() -> str:
    return service("    x-a: [" + "{a: b}," * 120_000 + "]\n")


@bomb
def open_brackets() -> str:
    return "[" * SIZE


@bomb
def open_braces() -> str:
    return "{" * SIZE


@bomb
def open_braces_with_keys() -> str:
    return "{a: " * 220_000


@bomb
def brackets_near_the_limit() -> str:
    return service("    x-a: [" + ("[" * 90 + "]" * 90 + ",") * 4500 + "]\n")


@bomb
def dashes() -> str:
    return "- " * 450_000


@bomb
def question_marks() -> str:
    return "? " * 450_000


@bomb
def colons() -> str:
    return ": " * 450_000


@bomb
def tabs() -> str:
    return "a:" + "\t" * SIZE + "b\n"


@bomb
def tabs_as_indentation() -> str:
    return "services:\n" + "\t\n" * 440_000


@bomb
def long_plain_scalar() -> str:
    return service("    command: " + "a " * 440_000 + "\n")


@bomb
def long_plain_scalar_of_lines() -> str:
    return service("    command: a\n" + "     b\n" * 120_000)


@bomb
def long_folded_scalar() -> str:
    return service("    command: >\n" + "     b\n" * 120_000)


@bomb
def long_double_quoted() -> str:
    return service('    command: "' + "\\x41" * 220_000 + '"\n')


@bomb
def unclosed_double_quote() -> str:
    return service('    command: "' + "a\n" * 440_000)


@bomb
def long_key() -> str:
    return service(f"    {'k' * 800_000}: 1\n")


@bomb
def long_plain_keys() -> str:
    return service("".join(f"    {'k' * 1000}{n}: 1\n" for n in range(800)))


@bomb
def long_tag() -> str:
    return service(f"    x-a: !{'t' * 800_000} b\n")


@bomb
def many_tag_directives() -> str:
    return "".join(f"%TAG !{n}! tag:x,2000:\n" for n in range(30_000)) + "---\nservices: {a: {image: x}}\n"


@bomb
def escaped_tag() -> str:
    return service("    x-a: !<" + "%41" * 280_000 + "> b\n")


@bomb
def newlines() -> str:
    return "\n" * SIZE


@bomb
def comments() -> str:
    return "# a\n" * 220_000 + service("")


@bomb
def one_comment() -> str:
    return "#" * SIZE


@bomb
def carriage_returns() -> str:
    return service("    command: a" + "\r" * 800_000)


@bomb
def byte_order_marks() -> str:
    return "\ufeff" * 290_000 + service("")


@bomb
def nul_bytes() -> bytes:
    return b"\0" * SIZE


@bomb
def random_bytes() -> bytes:
    import random

    return random.Random(7).randbytes(SIZE)


@bomb
def utf16() -> bytes:
    return service("    command: " + "é" * 400_000).encode("utf-16")


@bomb
def utf16_without_mark() -> bytes:
    return service("    command: " + "é" * 400_000).encode("utf-16-le")


# --- values --------------------------------------------------------------------------------------------


@bomb
def huge_integer() -> str:
    return service("    scale: " + "1" * 500_000 + "\n")


@bomb
def huge_integers_of_all_kinds() -> str:
    digits = "1" * 50_000
    kinds = (
        f"0x{digits}",
        f"0b{digits}",
        f"0o{digits}",
        f"0{digits}",
        f"+{digits}",
        f"-{digits}",
        f"{digits}.5",
        f"1e{digits}",
        f'"{digits}"',
    )
    keys = ("scale", "mem_limit", "cpus", "pids_limit", "cpu_shares", "mem_swappiness", "oom_score_adj", "cpu_period", "cpu_quota")
    return service("".join(f"    {key}: {kind}\n" for key, kind in zip(keys, kinds, strict=True)))


@bomb
def huge_integers_as_keys() -> str:
    return service(f"    labels: {{{'1' * 400_000}: a, 0x{'f' * 400_000}: b}}\n")


@bomb
def huge_tagged_integer() -> str:
    return service(f"    scale: !!int {'1' * 400_000}\n    cpus: !!float {'1' * 400_000}\n")


@bomb
def huge_floats() -> str:
    return service(
        "    cpus: 1e999999\n    scale: 1e300\n    mem_limit: 1e400\n    cpu_percent: .inf\n    pids_limit: .nan\n    shm_size: -.inf\n"
    )


@bomb
def floats_everywhere() -> str:
    keys = [
        "cpus",
        "cpu_percent",
        "cpu_shares",
        "cpu_count",
        "cpu_period",
        "cpu_quota",
        "mem_limit",
        "mem_reservation",
        "memswap_limit",
        "shm_size",
        "scale",
        "pids_limit",
    ]
    more = ["oom_score_adj", "mem_swappiness", "stop_grace_period"]
    return "services:\n" + "".join(
        f"  s{index}{key.replace('_', '-')}: {{image: x, {key}: {value}}}\n"
        for key in keys + more
        for index, value in enumerate((".inf", "-.inf", ".nan", "1e308", "'1e309'", "'nan'", "'inf'", "'9e999'", "2020-01-01"))
    )


@bomb
def floats_in_deep_places() -> str:
    values = (".inf", ".nan", "-.inf", "1e400", "'inf'", "'1e400'", "2020-01-01")
    forms = (
        "deploy: {{replicas: {0}}}", "deploy: {{resources: {{limits: {{cpus: {0}, memory: {0}, pids: {0}}}}}}}",
        "healthcheck: {{test: x, retries: {0}, interval: {0}}}", "ulimits: {{nofile: {0}, nproc: {{soft: {0}, hard: {0}}}}}",
        "ports: [{0}]", "ports: [{{target: {0}, published: {0}}}]", "configs: [{{source: c, mode: {0}}}]", "gpus: [{{count: {0}}}]",
        "volumes: [{{type: tmpfs, target: /x, tmpfs: {{size: {0}, mode: {0}}}}}]", "blkio_config: {{weight: {0}}}", "command: [{0}]",
        "environment: {{A: {0}}}", "deploy: {{update_config: {{parallelism: {0}, delay: {0}, max_failure_ratio: {0}}}}}",
        "networks: {{default: {{priority: {0}, gw_priority: {0}}}}}", "tmpfs: {0}", "x-a: {0}", "expose: [{0}]", "extra_hosts: {{a: {0}}}",
        "deploy: {{restart_policy: {{max_attempts: {0}, delay: {0}, window: {0}}}}}", "sysctls: {{a: {0}}}", "env_file: {0}",
        "develop: {{watch: [{{path: {0}, action: sync}}]}}", "build: {{context: {0}, shm_size: {0}}}", "image: {0}", "profiles: [{0}]",
        "depends_on: [{0}]", "links: [{0}]", "volumes: [{0}]", "devices: [{0}]", "secrets: [{0}]", "build: {0}", "extends: {0}",
        "logging: {{options: {{a: {0}}}}}", "dns: {0}", "device_cgroup_rules: [{0}]", "user: {0}", "container_name: {0}", "labels: [{0}]",
    )  # fmt: skip
    lines = (f"  s{f}v{v}: {{image: x, {form.format(value)}}}\n" for f, form in enumerate(forms) for v, value in enumerate(values))
    return "configs: {c: {content: x}}\nservices:\n" + "".join(lines)


@bomb
def huge_replicas() -> str:
    return "services:\n  a: {image: x, scale: 999999999999}\n  b: {image: x, deploy: {replicas: 4000000000}}\n"


@bomb
def surrogates() -> str:
    return service('    command: "\\ud800\\udfff"\n    labels: {"\\ud800": "\\udfff"}\n')


@bomb
def surrogates_in_bytes() -> bytes:
    return service("    command: \ud800\n").encode("utf-8", "surrogatepass")


@bomb
def unknown_tags() -> str:
    return service(
        "    command: !!binary aGVsbG8=\n    scale: !!python/object:os.system x\n    cpus: !foo {a: b}\n    labels: !!set {a, b}\n"
    )


@bomb
def binary_that_is_none() -> str:
    return service(f"    command: !!binary {'!' * 400_000}\n    hostname: !!timestamp x\n    labels: !!omap [a: b]\n")


@bomb
def odd_directives() -> str:
    return "%YAML 2.0\n%TAG ! tag:x,2000:\n%FOO bar\n---\nservices: {a: {image: x}}\n"


@bomb
def duplicate_keys() -> str:
    return service("    labels:\n" + "      a: b\n" * 75_000)


@bomb
def unknown_keys() -> str:
    return service("".join(f"    key{n}: b\n" for n in range(50_000)))


@bomb
def unknown_top_level_keys() -> str:
    return service("") + "".join(f"key{n}: b\n" for n in range(60_000))


@bomb
def keys_of_odd_types() -> str:
    return service("    labels:\n" + "".join(f"      {n}: b\n      {n}.5: c\n      20{n % 90 + 10}-01-01: d\n" for n in range(15_000)))


@bomb
def collections_as_keys() -> str:
    return service("    labels: {[a]: b, {c: d}: e}\n")


@bomb
def misspelt_keys_of_many_services() -> str:
    return services(20_000, "    imagee: x\n    prots: []\n")


@bomb
def wrong_types_of_many_services() -> str:
    return services(12_000, "    image: []\n    ports: 7\n    deploy: x\n    build: [1]\n")


@bomb
def undefined_things() -> str:
    return services(8000, "    image: x\n    networks: [n]\n    volumes: ['v:/v']\n    depends_on: [d]\n    secrets: [t]\n")


@bomb
def many_undefined_of_one() -> str:
    return service("    depends_on:\n" + "".join(f"    - d{n}\n" for n in range(50_000)))


@bomb
def misspelt_dependencies_of_many() -> str:
    return services(9000, "    image: x\n    depends_on: [service-that-is-not-there]\n")


@bomb
def everything_depends_on_everything() -> str:
    names = [f"s{n}" for n in range(400)]
    return "services:\n" + "".join(f"  {name}: {{image: x, depends_on: [{', '.join(o for o in names if o != name)}]}}\n" for name in names)


@bomb
def everything_depends_on_all_before() -> str:
    return "services:\n" + "".join(f"  s{n}: {{image: x, depends_on: [{', '.join(f's{o}' for o in range(n))}]}}\n" for n in range(500))


@bomb
def long_dependency_chain() -> str:
    return "services:\n" + "".join(f"  s{n}: {{image: x, depends_on: [s{n + 1}]}}\n" for n in range(20_000)) + "  s20000: {image: x}\n"


@bomb
def long_dependency_circle() -> str:
    return "services:\n" + "".join(f"  s{n}: {{image: x, depends_on: [s{(n + 1) % 20_000}]}}\n" for n in range(20_000))


@bomb
def many_dependency_circles() -> str:
    return "services:\n" + "".join(f"  s{n}: {{image: x, depends_on: [s{n ^ 1}]}}\n" for n in range(20_000))


@bomb
def port_ranges() -> str:
    return services(100, "    {image: x, ports: ['0-65535:0-65535']}\n")


@bomb
def one_wide_port_range() -> str:
    return service("    ports: ['1-65535:1-65535']\n")


@bomb
def port_ranges_of_one() -> str:
    return service("    ports:\n" + "    - '1-65535'\n" * 30_000)


@bomb
def wide_expose() -> str:
    return services(10_000, "    {image: x, expose: ['1-65535']}\n")


@bomb
def published_ranges() -> str:
    return services(10_000, "    {image: x, ports: ['1-65535:80', {target: 80, published: '1-65535'}]}\n")


@bomb
def the_same_port_everywhere() -> str:
    return services(20_000, "    {image: x, ports: ['80:80']}\n")


@bomb
def many_ports_of_one() -> str:
    return service("    ports:\n" + "".join(f"    - '{n % 60000 + 1}:{n % 60000 + 1}'\n" for n in range(45_000)))


@bomb
def many_networks_with_subnets() -> str:
    subnets = "".join(f"  n{n}: {{ipam: {{config: [{{subnet: 10.{n // 250}.{n % 250}.0/8}}]}}}}\n" for n in range(14_000))
    return service("") + "networks:\n" + subnets


@bomb
def long_cpuset() -> str:
    return service("    cpuset: '" + ",".join(f"{n}-999999999" for n in range(50_000)) + "'\n")


@bomb
def long_strings_in_every_field() -> str:
    """What backtracks in a pattern."""
    fields = (
        "image", "container_name", "hostname", "user", "mem_limit", "memswap_limit", "shm_size", "stop_grace_period", "restart", "cpuset",
        "network_mode", "pid", "ipc", "platform", "pull_policy", "mac_address", "stop_signal", "command", "entrypoint", "working_dir",
        "cpus", "scale", "pids_limit", "runtime", "userns_mode", "cgroup_parent", "isolation", "domainname", "uts", "pull_refresh_after",
    )  # fmt: skip
    shapes = (
        "1" * 4500,
        "a" * 4500,
        "1.1" * 1500,
        "1s" * 2200,
        "a/" * 2200,
        "a:" * 2200,
        " " * 4500,
        "1 " * 2200,
        "a-." * 1500,
        "(" * 4500,
    )
    pick = [(field, shape) for index, field in enumerate(fields) for shape in (shapes[index % 10], shapes[(index * 3 + 1) % 10])]
    return "services:\n" + "".join(f"  s{n}: {{image: x, {field}: '{shape}!'}}\n" for n, (field, shape) in enumerate(pick))


def long_string(field: str, shape: str) -> Callable[[], Files]:
    return lambda: {"compose.yaml": service(f"    {field}\n".replace("%", shape * (SIZE // len(shape)) + "!"))}


_FIELDS = (
    "image: '%'", "mem_limit: '%'", "stop_grace_period: '%'", "cpus: '%'", "ports: ['%']", "volumes: ['%']", "extra_hosts: ['%']",
    "command: '%'", "restart: '%'", "container_name: '%'", "environment: ['%']", "devices: ['%']", "platform: '%'", "cpuset: '%'",
    "device_cgroup_rules: ['%']", "healthcheck: {test: x, interval: '%'}", "hostname: '%'", "user: '%'", "scale: '%'", "expose: ['%']",
    "network_mode: '%'", "tmpfs: '%'", "pull_policy: '%'", "build: '%'", "ulimits: {nofile: '%'}", "labels: ['%']",
    "configs: [{source: a, mode: '%'}]", "networks: {default: {ipv4_address: '%'}}", "extends: '%'", "profiles: ['%']",
    "env_file: '%'", "depends_on: ['%']", "secrets: ['%']", "links: ['%']", "gpus: '%'", "dns: '%'", "mac_address: '%'",
    "build: {context: ., dockerfile_inline: '%'}", "sysctls: ['%']", "stop_signal: '%'", "cap_add: ['%']", "working_dir: '%'",
    "security_opt: ['%']", "privileged: '%'", "pid: '%'", "blkio_config: {device_read_bps: [{path: a, rate: '%'}]}",
)  # fmt: skip
_SHAPES = {
    "digits": "1", "letters": "a", "spaces": " ", "dots": "1.", "units": "1s", "slashes": "a/", "colons": "a:", "dashes": "a-",
    "mixed": "1h ",
    "equals": "=", "underscores": "__", "braces": "${", "commas": ",", "quotes": '"', "at": "a@", "dotdot": "../", "parens": "$(",
}  # fmt: skip
LONG_STRINGS = {
    f"{name} in {field.split(':')[0]}{index}": long_string(field, shape)
    for index, field in enumerate(_FIELDS)
    for name, shape in _SHAPES.items()
}
"""Every field with a long string of every shape: too many for each test run, so it takes its turn."""


@bomb
def deep_extension() -> str:
    return service("    x-a: " + "{a: " * 120 + "b" + "}" * 120 + "\n")


@bomb
def too_deep_extension() -> str:
    return service("    x-a: " + "{a: " * 900 + "b" + "}" * 900 + "\n")


@bomb
def wide_and_deep_extension() -> str:
    return service("    x-a:\n" + "".join(" " * (5 + n) + "a:\n" for n in range(100)) + (" " * 110 + "- b\n") * 7000)


@bomb
def long_commands() -> str:
    return services(200, "    {image: x, command: '" + "a " * 2000 + "'}\n")


@bomb
def many_volumes() -> str:
    return service("    volumes:\n" + "".join(f"    - 'v{n}:/v{n}'\n" for n in range(40_000)))


@bomb
def many_same_volumes() -> str:
    return service("    volumes:\n" + "    - '/v:/v'\n" * 60_000)


@bomb
def many_environment_items() -> str:
    return service("    environment:\n" + "    - A=b\n" * 80_000)


@bomb
def many_services() -> str:
    return "services: {" + ",".join(f"s{n}: {{image: x}}" for n in range(45_000)) + "}\n"


@bomb
def many_empty_services() -> str:
    return "services:\n" + "".join(f"  s{n}:\n" for n in range(90_000))


@bomb
def long_names() -> str:
    return f"name: {'n' * 200_000}\nservices:\n  {'s' * 1000}: {{image: x, container_name: {'c' * 200_000}}}\n"


@bomb
def many_profiles() -> str:
    return service("    profiles: [" + ",".join(f"p{n}" for n in range(110_000)) + "]\n")


@bomb
def hidden_dependencies() -> str:
    profiles = ",".join(f"p{n}" for n in range(20_000))
    head = f"services:\n  h: {{image: x, profiles: [{profiles}]}}\n"
    return head + "".join(f"  s{n}: {{image: x, depends_on: [h]}}\n" for n in range(15_000))
