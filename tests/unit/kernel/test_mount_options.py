"""Mount option words → what the kernel is told."""

from __future__ import annotations

import pytest

from stackrun.errors import InvalidArgument
from stackrun.kernel import syscalls
from stackrun.kernel.mounts import Options


def test_words_are_sorted_by_where_they_go() -> None:
    options = Options(["rbind", "ro", "rnosuid", "rprivate", "nodev", "size=1m", "mode=755", "defaults"])
    assert options.recursive
    assert options.attr_set == syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NODEV
    assert options.recursive_set == syscalls.MOUNT_ATTR_NOSUID
    assert (options.propagation, options.propagation_recursive) == (syscalls.MS_PRIVATE, True)
    assert options.data == ["size=1m", "mode=755"]


def test_the_last_word_about_an_attribute_wins() -> None:
    options = Options(["ro", "rw", "noexec", "exec", "noexec"])
    assert options.attr_set == syscalls.MOUNT_ATTR_NOEXEC
    assert options.attr_clear == syscalls.MOUNT_ATTR_RDONLY


def test_relatime_is_not_taken_for_a_recursive_word() -> None:
    options = Options(["relatime", "rro"])
    assert options.attr_clear == syscalls.MOUNT_ATTR__ATIME
    assert options.recursive_set == syscalls.MOUNT_ATTR_RDONLY


def test_a_bind_mount_takes_no_options_of_a_file_system() -> None:
    Options(["bind", "ro"]).refuse_data("mounts[0]")
    with pytest.raises(InvalidArgument, match=r"mounts\[0\]: unknown option 'size=1'"):
        Options(["bind", "size=1"]).refuse_data("mounts[0]")
