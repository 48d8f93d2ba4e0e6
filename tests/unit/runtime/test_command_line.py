"""runc's way with words, durations, lists of cpus and limits, and where a socket with a long name is."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from stackrun.errors import DeadlineExceeded, ExecuteFailed, InvalidArgument, KernelError, Unsupported
from stackrun.kernel import tree
from stackrun.runtime import events, hooks, options, record, scheduling, state, update, verbs
from stackrun.runtime.options import FLAG, LIST, NUMBER, VALUE, Option

TABLE = (Option("bundle b", VALUE, default="."), Option("detach d", FLAG), Option("count", NUMBER), Option("env e", LIST))


def parse(*words: str) -> Any:
    return options.parse(TABLE, list(words))


def test_one_dash_or_two_and_values_either_way() -> None:
    for words in (("--bundle", "x"), ("-bundle", "x"), ("-b", "x"), ("--bundle=x",), ("-b=x",)):
        assert parse(*words, "id").bundle == "x"
    given = parse("-d", "-e", "A=1", "--env=B=2", "--count", "0x10", "id", "-d", "--env", "C")
    assert (given.detach, given.env, given.count, given.words) == (True, ["A=1", "B=2"], 16, ["id", "-d", "--env", "C"])
    assert parse("-d=false", "--", "-x").words == ["-x"] and not parse("-d=false").detach
    assert parse().bundle == "." and parse().env == []


def test_lists_are_not_shared_between_two_readings() -> None:
    parse("-e", "A")
    assert parse().env == []


@pytest.mark.parametrize(("words", "text"), [
    (("--nope",), "flag provided but not defined: -nope"),
    (("--bundle",), "flag needs an argument: -bundle"),
    (("--count", "x"), "invalid value 'x' for flag -count"),
    (("-d=maybe",), "invalid boolean value 'maybe'"),
])  # fmt: skip
def test_what_cannot_be_read(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        parse(*words)


def test_every_verb_of_runc_has_its_options() -> None:
    """As `runc VERB --help` of 1.1 lists them."""
    known = {
        "create": "bundle console-socket pid-file no-pivot no-new-keyring preserve-fds",
        "run": "bundle console-socket detach keep pid-file no-subreaper no-pivot no-new-keyring preserve-fds",
        "exec": "console-socket cwd env tty user additional-gids process detach pid-file process-label apparmor no-new-privs cap"
        " preserve-fds cgroup ignore-paused",
        "kill": "all",
        "delete": "force",
        "events": "interval stats",
        "update": "resources blkio-weight cpu-period cpu-quota cpu-share cpu-rt-period cpu-rt-runtime cpuset-cpus cpuset-mems memory"
        " memory-reservation memory-swap pids-limit l3-cache-schema mem-bw-schema",
        "list": "format quiet",
        "ps": "format",
        "spec": "bundle",
        **dict.fromkeys(("start", "state", "pause", "resume", "features"), ""),
    }
    for verb, words in known.items():
        assert set(words.split()) <= {option.names[0] for option in verbs.VERBS[verb].options}, verb


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5.0), ("500ms", 0.5), ("2m", 120.0), ("1.5h", 5400.0)])
def test_durations(text: str, seconds: float) -> None:
    assert events.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "0s", "-1s", "5x"])
def test_no_durations(text: str) -> None:
    with pytest.raises(InvalidArgument):
        events.seconds(text)


def test_lists_of_cpus() -> None:
    found = scheduling.Scheduling({"execCPUAffinity": {"initial": "0-2,5", "final": "7"}}, "process")
    assert (found.affinity, found.final_affinity) == ({0, 1, 2, 5}, {7})


def test_numbers_of_the_kernel() -> None:
    found = scheduling.Scheduling(
        {
            "scheduler": {"policy": "SCHED_RR", "priority": 3, "nice": -5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        },
        "process",
    )
    assert found.policy == (2, 1, -5, 3, (0, 0, 0))
    assert found.io_priority == 2 << 13 | 4
    assert scheduling.parse({"args": ["x"]}, "process") is scheduling.NONE


def resources(*words: str) -> dict[str, Any]:
    return update.resources(options.parse(update.OPTIONS, list(words)))


def test_options_of_update_become_resources(tmp_path: Path) -> None:
    assert resources() == {}
    assert resources("--memory", "64", "--memory-swap", "-1", "--cpuset-cpus", "0-1", "--pids-limit", "-1") == {
        "memory": {"limit": 64, "swap": -1}, "cpu": {"cpus": "0-1"}, "pids": {"limit": -1},
    }  # fmt: skip
    (tmp_path / "r").write_text(json.dumps({"cpu": {"quota": 5}}))
    assert resources("-r", str(tmp_path / "r"), "--memory", "64") == {"cpu": {"quota": 5}}
    with pytest.raises(Unsupported, match="mem-bw-schema"):
        resources("--mem-bw-schema", "x")
    with pytest.raises(InvalidArgument, match="--resources /no/such"):
        resources("-r", "/no/such")


def test_a_socket_below_a_long_path(tmp_path: Path) -> None:
    run_dir = tmp_path / ("d" * 120)
    run_dir.mkdir()
    with state.listen(str(run_dir)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        state.knock(str(run_dir)).close()
        thread.join()
    with pytest.raises(ConnectionRefusedError):
        state.knock(str(run_dir))


def test_a_record_that_is_half_made_is_none(tmp_path: Path) -> None:
    made = record.Record.reserve(str(tmp_path), "a")
    assert record.all_records(str(tmp_path)) == []
    made.forget()
    assert os.listdir(tmp_path) == []
    made.forget()


# --- hooks, which need no rights ---


def hook(*arguments: str, **more: Any) -> hooks.Hook:
    return hooks.Hook({"path": "/bin/sh", "args": ["sh", "-c", *arguments], **more}, "hooks.prestart[0]")


def test_a_hook_gets_the_state_and_its_own_environment_alone(tmp_path: Path) -> None:
    hook(f"cat > {tmp_path}/state; env > {tmp_path}/env", env=["A=b", "PATH=/bin:/usr/bin"]).run({"id": "x"})
    assert json.loads((tmp_path / "state").read_text()) == {"id": "x"}
    assert {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()} <= {"A", "PATH", "PWD", "SHLVL", "_", "OLDPWD"}


def test_how_a_hook_can_fail() -> None:
    with pytest.raises(ExecuteFailed, match=r"hooks\.prestart\[0\]: /bin/sh: exit status 4: a; b"):
        hook("echo a; echo b >&2; exit 4").run({})
    with pytest.raises(ExecuteFailed, match="signal 9"):
        hook("kill -9 $$").run({})
    with pytest.raises(DeadlineExceeded, match="took longer than 1 s"):
        hook("exec sleep 100", timeout=1).run({})
    with pytest.raises(KernelError, match="execute /no/such"):
        hooks.Hook({"path": "/no/such"}, "hooks.poststop[0]").run({})


def test_all_of_them_or_up_to_the_first_that_fails(tmp_path: Path) -> None:
    entries = [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {code} >> {tmp_path}/order; exit {code}"]} for code in (0, 1, 2)]
    found = hooks.Hooks({"poststop": entries, "prestart": entries})
    assert found and not hooks.NONE
    with pytest.raises(ExecuteFailed, match="exit status 1"):
        found.run("prestart", "creating", {})
    assert (tmp_path / "order").read_text().split() == ["0", "1"]
    assert len(found.run_all("poststop", "stopped", {})) == 2
    assert (tmp_path / "order").read_text().split() == ["0", "1", "0", "1", "2"]


# --- copies ---


def test_a_tree_is_copied_as_it_is(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "a/b").mkdir(parents=True)
    target.mkdir()
    (source / "a/b/file").write_text("text")
    (source / "a/b/file").chmod(0o640)
    os.utime(source / "a/b/file", ns=(5, 7))
    (source / "link").symlink_to("/etc")
    os.mkfifo(source / "fifo")
    (source / "a").chmod(0o1711)
    fds = [os.open(path, os.O_PATH) for path in (source, target)]
    tree.copy(*fds)
    for fd in fds:
        os.close(fd)
    assert (target / "a/b/file").read_text() == "text"
    assert (target / "a/b/file").stat().st_mode & 0o7777 == 0o640 and (target / "a/b/file").stat().st_mtime_ns == 7
    assert os.readlink(target / "link") == "/etc" and (target / "fifo").is_fifo()
    assert (target / "a").stat().st_mode & 0o7777 == 0o1711
