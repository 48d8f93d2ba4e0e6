"""What a user namespace leaves of root's power, read from its map of ids."""

from __future__ import annotations

import pytest

from stackrun.kernel import privileges

WHOLE = "         0          0 4294967295\n"


def test_the_machines_root_has_everything() -> None:
    found = privileges.parse(WHOLE, 0)
    assert not found.rootless and not found.single_id and found.overlay_options == ()
    assert found.overlay_opaque == "trusted.overlay.opaque"


def test_an_ordinary_user_outside_of_any_namespace_has_his_one_id() -> None:
    found = privileges.parse(WHOLE, 1000)
    assert found.rootless and found.single_id


@pytest.mark.parametrize(
    ("uid_map", "ids"),
    [("0 1000 1\n", 1), ("0 1000 1\n1 100000 65536\n", 65537), ("0 100000 65536\n", 65536)],
)
def test_a_namespaces_root_has_the_ids_that_are_mapped(uid_map: str, ids: int) -> None:
    found = privileges.parse(uid_map, 0)
    assert (found.rootless, found.ids, found.single_id) == (True, ids, ids == 1)
    assert found.overlay_options == ("userxattr",) and found.overlay_opaque == "user.overlay.opaque"
