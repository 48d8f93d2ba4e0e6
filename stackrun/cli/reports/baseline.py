"""Findings that are known: a file of fingerprints, so that a stack with old faults fails for new ones only."""

from __future__ import annotations

import json
from pathlib import Path

from stackrun.compose.validation import Validation
from stackrun.errors import InvalidArgument

VERSION = 1


def read(path: str) -> frozenset[str]:
    """The fingerprints of a file that `write` made. InvalidArgument when it is none."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        if document["version"] != VERSION:
            raise InvalidArgument(
                f"{path}: version {document['version']} of a baseline is not known", hint="write it again: --write-baseline"
            )
        return frozenset(str(one["fingerprint"]) for one in document["findings"])
    except OSError as error:
        raise InvalidArgument(f"cannot read the baseline {path}: {(error.strerror or '').lower()}") from None
    except (ValueError, KeyError, TypeError):
        raise InvalidArgument(f"{path} is not a baseline", hint="write one with --write-baseline") from None


def write(path: str, validation: Validation) -> None:
    """What counts now; with code and place for whoever reads the file."""
    findings = [
        {"fingerprint": one.fingerprint, "code": one.code, "path": one.place.path, "line": one.place.line} for one in validation.open
    ]
    text = json.dumps({"version": VERSION, "findings": findings}, indent=2) + "\n"
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidArgument(f"cannot write {path}: {(error.strerror or '').lower()}") from None
