"""Shocker: open_by_handle_at(2) reaches any file of a file system of which one has a single file."""

from pathlib import Path

from prison import Prison

SCRIPT = """
handle = ctypes.create_string_buffer(struct.pack("I", 128), 136)
mount_id = ctypes.c_int()
report("name_to_handle_at", -100, b"/door/only", handle, ctypes.byref(mount_id), 0)
door = os.open("/door/only", os.O_RDONLY)
report("open_by_handle_at", door, handle, os.O_RDONLY)
"""


def test_refused(prison: Prison, tmp_path: Path) -> None:
    (tmp_path / "only").write_text("x")
    found = prison.lines(SCRIPT, "-v", f"{tmp_path}:/door:ro")
    assert found["open_by_handle_at"] == "EPERM"


def test_the_attempt_works_with_the_capability(prison: Prison, tmp_path: Path) -> None:
    (tmp_path / "only").write_text("x")
    weak = ["--cap-add", "DAC_READ_SEARCH", "--security-opt", "seccomp=unconfined"]
    found = prison.lines(SCRIPT, "-v", f"{tmp_path}:/door:ro", *weak)
    assert found["name_to_handle_at"] == found["open_by_handle_at"] == "ok"
