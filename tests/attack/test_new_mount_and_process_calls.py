"""Newer calls that older filters forget: the mount API by descriptors, and namespaces by clone3(2) and clone(2)."""

from prison import Prison

NUMBERS = {
    "open_tree": "428, -100, b'/', 1", "move_mount": "429, -1, b'', -1, b'', 0", "fsopen": "430, b'proc', 0",
    "fsconfig": "431, -1, 6, 0, 0, 0",
    "fsmount": "432, -1, 0, 0", "fspick": "433, -100, b'/', 0", "mount_setattr": "442, -1, b'', 0, 0, 0", "quotactl_fd": "443, -1, 0, 0, 0",
}  # fmt: skip
SCRIPT = "".join(
    f"ctypes.set_errno(0); r = libc.syscall({words}); print('{name}', 'ok' if r >= 0 else errno.errorcode[ctypes.get_errno()])\n"
    for name, words in NUMBERS.items()
)
OTHERS = """
# clone3 with new namespaces; the kernel is to say it has no such call, so that libraries take clone(2), whose flags can be looked at
args = ctypes.create_string_buffer(struct.pack("8Q", 0x10000000 | 0x00020000, 0, 0, 0, 17, 0, 0, 0))
r = libc.syscall(435, args, 64)
if r == 0:
    os._exit(0)
print("clone3", "ok" if r > 0 else errno.errorcode[ctypes.get_errno()])
ctypes.set_errno(0)
r = libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)
if r == 0:
    os._exit(0)
print("clone", "ok" if r > 0 else errno.errorcode[ctypes.get_errno()])
"""


def test_refused(prison: Prison) -> None:
    found = prison.lines(SCRIPT + OTHERS)
    assert {name: found[name] for name in NUMBERS} == dict.fromkeys(NUMBERS, "EPERM")
    assert found["clone3"] == "ENOSYS" and found["clone"] == "EPERM"


def test_the_attempt_works_unconfined(prison: Prison) -> None:
    found = prison.lines(SCRIPT + OTHERS, "--security-opt", "seccomp=unconfined", "--cap-add", "SYS_ADMIN")
    assert found["fsopen"] == found["open_tree"] == "ok" and found["clone3"] == found["clone"] == "ok"
