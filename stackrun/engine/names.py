"""Names for containers that were given none: an adjective and a thing of the sea."""

from __future__ import annotations

import secrets

_HOW = (
    "able", "amber", "bold", "brave", "brisk", "calm", "clear", "clever", "deep", "eager", "early", "fair", "fleet", "fresh", "gentle",
    "glad", "golden", "grand", "happy", "hardy", "keen", "kind", "light", "lively", "loyal", "lucky", "mild", "neat", "noble", "patient",
    "plain", "proud", "quick", "quiet", "ready", "sharp", "silent", "silver", "steady", "still", "stout", "sunny", "swift", "tidy", "trim",
    "true", "warm", "wise",
)  # fmt: skip
_WHAT = (
    "anchor", "bay", "beacon", "boom", "bow", "brig", "buoy", "cape", "cove", "crane", "current", "cutter", "deck", "delta", "dock",
    "dolphin", "ferry", "fjord", "gull", "harbour", "haven", "heron", "hull", "island", "jetty", "kelp", "keel", "lagoon", "lantern",
    "lock", "mast", "narwhal", "oar", "orca", "otter", "pearl", "pier", "porpoise", "quay", "reef", "rudder", "sail", "seal", "shoal",
    "sloop", "sound", "spar", "tern", "tide", "wave", "wharf",
)  # fmt: skip


def made_up_name() -> str:
    """`steady_otter_4f1a`: some 160 million of them, so that the second try is rare."""
    return f"{secrets.choice(_HOW)}_{secrets.choice(_WHAT)}_{secrets.token_hex(2)}"
