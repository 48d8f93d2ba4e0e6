"""Which phases of reading are done, for `config`'s `--no-…`; everything else does all of them."""

from __future__ import annotations

from typing import NamedTuple


class Phases(NamedTuple):
    interpolate: bool = True
    """Without it values stay as they are written: nothing is decoded, checked or left out."""
    normalize: bool = True
    """Names, the default network, implied dependencies, defaults of a build."""
    paths: bool = True
    env_files: bool = True
    consistency: bool = True
    """Whether what is referred to is there, and whether settings contradict each other."""
    services: tuple[str, ...] = ()
    """Enabled whatever their profiles are; with what they depend on they are all that is left. Empty: all."""


WHOLE = Phases()
