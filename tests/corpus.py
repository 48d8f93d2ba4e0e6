"""`make corpus`: `stackrun config` beside Docker Compose on a corpus of real files.

A corpus is a directory with `manifest.jsonl` (an entry a line: id, dir, files, env_file), `oracle.jsonl` (what Docker
Compose makes of each: accepted with its model, or rejected) and `corpus/`, the files.  The program itself is called, in
this process and its forks, since 1,500 starts of an interpreter would take longer than all the reading.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackrun.cli import exit
from stackrun.cli.main import run
from stackrun.errors import EXIT_BUG

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "compose-corpus"
RECORDED_ROOT = "/CORPUS"
"""Stands for the directory of the files in what was recorded."""
VERDICTS_WANTED, MODELS_WANTED = 0.995, 0.99
NOT_JUDGED = ("timeout", "oracle bug", "remote resource, needs network")
"""Reasons of Docker Compose's that tell nothing of the file."""
NAMES = frozenset(("services", "networks", "volumes", "configs", "secrets", "models", "environment", "depends_on", "args"))
"""Mappings in which a name without a value says something."""


@dataclass(frozen=True)
class Outcome:
    id: str
    wanted: bool
    accepted: bool
    crashed: bool
    equal: bool
    said: str
    """What the tool or the oracle gave as its reason to reject."""
    differing: tuple[str, ...]
    """Key paths at which the models differ, services' names left out."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    began = time.monotonic()
    entries = list(_entries(options.corpus))
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        outcomes = pool.map(_judge, entries, chunksize=20)
    return _report(outcomes, time.monotonic() - began)


def _entries(corpus: Path) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """(files' directory, entry, what the oracle said) of every entry that can be judged."""
    oracle = {truth["id"]: truth for truth in _lines(corpus / "oracle.jsonl")}
    for entry in _lines(corpus / "manifest.jsonl"):
        truth = oracle.get(entry["id"])
        if truth and truth.get("reason") not in NOT_JUDGED:
            yield (corpus / "corpus").resolve(), entry, truth


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


# --- one entry ------------------------------------------------------------------------------------


def _judge(case: tuple[Path, dict[str, Any], dict[str, Any]]) -> Outcome:
    root, entry, truth = case
    code, printed, complaint = _config(root / entry["dir"], entry)
    differing: tuple[str, ...] = ()
    if truth["accepted"] and code == 0:
        have = json.loads(printed.replace(str(root), RECORDED_ROOT))
        differing = tuple(sorted(set(_differing(_essence(truth["model"]), _essence(have), ()))))
    said = complaint if truth["accepted"] else truth.get("error", "")
    accepted = code == 0
    return Outcome(entry["id"], truth["accepted"], accepted, code == EXIT_BUG, accepted and not differing, said[:200], differing)


def _config(directory: Path, entry: dict[str, Any]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `stackrun config` in the entry's directory, as if a shell had started it there."""
    argv = [word for file in entry["files"] for word in ("-f", file)]
    argv += ["--env-file", entry["env_file"]] if "env_file" in entry else []
    argv += ["--profile", "*", "config", "--format", "json"]
    clean = {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/user", "USER": "user", "LANG": "C.UTF-8", "TERM": "dumb",
        "PWD": str(directory), "DOCKER_CONFIG": "/nonexistent/docker", "GIT_TERMINAL_PROMPT": "0",
    }  # fmt: skip
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(clean)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run(argv)
        except Exception as error:
            code = exit.report(error)
    return code, out.getvalue(), err.getvalue()


# --- comparison -----------------------------------------------------------------------------------


def _essence(value: Any, key: str = "") -> Any:
    """Without nulls and empty collections, but for names."""
    if isinstance(value, dict):
        cleaned = {name: _essence(item, name) for name, item in value.items()}
        if key in NAMES:
            return {name: item if item not in ({}, []) else None for name, item in cleaned.items()}
        return {name: item for name, item in cleaned.items() if item is not None and item not in ({}, [])}
    return [_essence(item) for item in value] if isinstance(value, list) else value


def _differing(want: Any, have: Any, path: tuple[str, ...]) -> Iterator[str]:
    if type(want) is type(have) and want == have:
        return
    if isinstance(want, dict) and isinstance(have, dict) and len(path) < 4:
        for key in sorted(want.keys() | have.keys()):
            yield from _differing(want.get(key), have.get(key), (*path, key))
    elif want != have:
        yield ".".join("*" if number == 1 and path[0] == "services" else key for number, key in enumerate(path))


# --- report ---------------------------------------------------------------------------------------


def _report(outcomes: list[Outcome], seconds: float) -> int:
    agreed = [one for one in outcomes if one.wanted == one.accepted]
    accepted = [one for one in outcomes if one.wanted]
    equal = [one for one in accepted if one.equal]
    print(f"entries   {len(outcomes)} in {seconds:.1f} s")
    print(f"verdicts  {_share(len(agreed), len(outcomes))}, wanted {VERDICTS_WANTED:.1%}")
    print(f"models    {_share(len(equal), len(accepted))}, wanted {MODELS_WANTED:.1%}")
    for one in outcomes:
        if one.crashed or one.wanted != one.accepted:
            verdict = (
                "crashed" if one.crashed else "rejected, though Docker Compose accepts" if one.wanted else "accepted, though not by Compose"
            )
            print(f"{one.id}  {verdict}: {one.said.strip()}")
    keys = Counter(key for one in accepted for key in one.differing)
    for key, count in keys.most_common(30):
        print(f"{key}  {count}, such as {next(one.id for one in accepted if key in one.differing)}")
    reached = len(agreed) >= VERDICTS_WANTED * len(outcomes) and len(equal) >= MODELS_WANTED * len(accepted)
    return 0 if outcomes and reached and not any(one.crashed for one in outcomes) else 1


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}, {part / whole:.2%}" if whole else "none"


if __name__ == "__main__":
    sys.exit(main())
