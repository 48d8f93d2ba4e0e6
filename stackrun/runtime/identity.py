"""From the runtime's rights to the container's: limits, user, capabilities, seccomp, in the one order that works.

    limits()     while the process may still raise them; lower() does the rest at the end, since few descriptors, say, would
                 hold up what is still to be done
    assume()     no_new_privs, bounding set, groups, user, working directory
    finish()     seccomp as close to execve as it can be, then the last capabilities

Without no_new_privs a filter takes CAP_SYS_ADMIN to install, so that one capability is kept until right after it
(seccomp(2)); the filter must allow capset and prctl then, as Docker's does.
"""

from __future__ import annotations

import errno
import os
import resource

from stackrun.errors import KernelError, Unsupported
from stackrun.kernel import caps, privileges, process, seccomp, seccomp_verdict, syscalls
from stackrun.runtime import passwd
from stackrun.runtime.spec import CAPABILITY_SETS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from stackrun.runtime.spec import Process

_PRESENT: list[int] = []


def present() -> int:
    """The bounding set this process was started with; asked once, by the zygote."""
    if not _PRESENT:
        _PRESENT.append(caps.bounding())
    return _PRESENT[0]


def resolve(wanted: Process, root_fd: int) -> None:
    """Fill `uid`, `gid`, `groups` from the names, and HOME in the environment where it is missing."""
    home = ""
    if wanted.user:
        user = passwd.resolve_user(root_fd, wanted.user)
        wanted.uid, wanted.gid = user.uid, user.gid
        wanted.groups = list(dict.fromkeys([*user.groups, *wanted.groups]))
        home = user.home
    if wanted.group_names:
        wanted.groups = list(dict.fromkeys([*wanted.groups, *passwd.group_ids(root_fd, wanted.group_names)]))
    if "HOME" not in wanted.environment:
        wanted.environment["HOME"] = home or passwd.home_of(root_fd, wanted.uid) or "/"


def limits(wanted: Process) -> list[str]:
    """rlimits of the calling process.  What its rights do not reach is left out: the warnings say so."""
    if wanted.personality >= 0:
        syscalls.personality(wanted.personality)
    return [warning for one in wanted.rlimits if (warning := _limit(*one))]


def oom_score(wanted: Process) -> list[str]:
    """oom_score_adj of the calling process, which must see the host's /proc: a container's may be anything (CVE-2025-52881)."""
    if wanted.oom_score_adj is None:
        return []
    try:
        _write("/proc/self/oom_score_adj", str(wanted.oom_score_adj))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise KernelError(f"set oom_score_adj {wanted.oom_score_adj}", error.errno or errno.EIO) from error
        return [f"oom_score_adj {wanted.oom_score_adj} left out: it takes CAP_SYS_RESOURCE to go below the daemon's"]
    return []


def lower(wanted: Process) -> None:
    """The limits as they are to be in the end; by now that only lowers them, which takes no rights."""
    for number, soft, hard in wanted.rlimits:
        most = resource.getrlimit(number)[1]
        resource.setrlimit(number, (_lower(_lower(soft, hard), most), _lower(hard, most)))


def _limit(number: int, soft: int, hard: int) -> str:
    """Raise one rlimit, where that is needed; without CAP_SYS_RESOURCE it cannot go up, and `lower` will clamp it."""
    present, most = resource.getrlimit(number)
    if _lower(hard, most) == hard:
        return ""
    try:
        resource.setrlimit(number, (present, hard))
        return ""
    except (ValueError, PermissionError):
        clamped_hard = most
        clamped_soft = _lower(soft, most)
    name = next(name for name in dir(resource) if name.startswith("RLIMIT_") and getattr(resource, name) == number)
    return f"{name} {soft}:{hard} lowered to {clamped_soft}:{clamped_hard}: it takes CAP_SYS_RESOURCE to raise it"


def _lower(value: int, most: int) -> int:
    if most == resource.RLIM_INFINITY:
        return value
    return most if value == resource.RLIM_INFINITY else min(value, most)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def missing_capabilities(wanted: Process) -> list[str]:
    """One warning naming every wanted capability this process itself does not have."""
    lacking = caps.names(wanted.capabilities[CAPABILITY_SETS.index("bounding")] & ~present())
    warnings = [f"capabilities left out, the daemon lacks them itself: {', '.join(lacking)}"] if lacking else []
    if wanted.unknown_capabilities:
        warnings.append(f"unknown capabilities left out: {', '.join(wanted.unknown_capabilities)}")
    return warnings


def own_streams(uid: int) -> None:
    """Give 0, 1 and 2 to the user, so that /dev/stdout can be opened again; not the null device, which is everyone's."""
    for fd in range(3):
        status = os.fstat(fd)
        if status.st_rdev == os.makedev(1, 3) or status.st_uid == uid:
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError as error:
            # A socket, a read-only file or an unmapped id: the stream itself works all the same.
            if error.errno not in (errno.EINVAL, errno.EPERM, errno.EROFS, errno.ENOSYS):
                raise KernelError(f"chown stream {fd}", error.errno or errno.EIO) from error


def assume(wanted: Process, seccomp_program: bytes) -> None:
    """Become the user, with the capabilities wanted and, for the filter and the scheduling still to come, CAP_SYS_ADMIN and _NICE."""
    if wanted.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    early = _enter(wanted.cwd)
    bounding, effective, inheritable, permitted, _ = _reachable(wanted)
    caps.drop_bounding(bounding, present())
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    _take_ids(wanted)
    kept = caps.SYS_ADMIN if _filter_needs_rights(wanted, seccomp_program) else 0
    kept = (kept | (caps.SYS_NICE if wanted.scheduling.is_set else 0)) & present()
    syscalls.capset(effective | kept, permitted | kept, inheritable)
    # The change of user has undone both (prctl(2)).
    process.forbid_dump()
    if wanted.dies_with_parent:
        process.die_with_parent()
    _check_directory(wanted.cwd, _enter(wanted.cwd) if early else None)
    os.umask(wanted.umask)


def _take_ids(wanted: Process) -> None:
    try:
        try:
            os.setgroups(wanted.groups)
        except PermissionError:
            # In a user namespace of one id nobody may (user_namespaces(7)); there are no others to be in, and what comes from the
            # image's /etc/group is not worth a refusal.
            if not privileges.current().single_id or wanted.group_names:
                raise
        os.setresgid(wanted.gid, wanted.gid, wanted.gid)
        os.setresuid(wanted.uid, wanted.uid, wanted.uid)
    except OSError as error:
        if error.errno != errno.EINVAL and not privileges.current().single_id:
            raise
        groups = f" with the groups {wanted.groups}" if wanted.groups else ""
        raise Unsupported(
            f"user {wanted.uid}:{wanted.gid}{groups}: not among the ids of this user namespace",
            hint="install uidmap and give your user ranges in /etc/subuid and /etc/subgid (usermod --add-subuids, --add-subgids)",
        ) from None


def finish(wanted: Process, seccomp_program: bytes, tell: Callable[[int], None] = os.close) -> None:
    """The last two steps.  Nothing but execve, or a wait for children, is to follow.

    `tell` gets the descriptor of a filter that asks somebody else (SCMP_ACT_NOTIFY), before anything else is called.
    """
    _, effective, inheritable, permitted, ambient = _reachable(wanted)
    first = _filter_needs_rights(wanted, seccomp_program)
    if first:
        _install(seccomp_program, tell)
    syscalls.capset(effective, permitted, inheritable)
    caps.set_ambient(ambient & permitted & inheritable)
    if seccomp_program and not first:
        _install(seccomp_program, tell)


def may_finish_early(wanted: Process, seccomp_program: bytes) -> bool:
    """Whether `finish` may be called before the clone of a process that others may trace: nobody could do more with that then."""
    if not wanted.capabilities[CAPABILITY_SETS.index("bounding")] & caps.SYS_PTRACE or wanted.scheduling.is_set:
        return False
    return not seccomp_program or seccomp_verdict.allows_execve(seccomp_program)


def _install(seccomp_program: bytes, tell: Callable[[int], None]) -> None:
    listener = seccomp.install(seccomp_program)
    if listener > 0:
        tell(listener)


def _filter_needs_rights(wanted: Process, seccomp_program: bytes) -> bool:
    return bool(seccomp_program) and not wanted.no_new_privileges


def _reachable(wanted: Process) -> tuple[int, ...]:
    return tuple(mask & present() for mask in wanted.capabilities)


def _enter(path: str) -> OSError | None:
    """chdir, tried with the runtime's rights and again as the user: either may be the one that is let in."""
    try:
        os.chdir(path)
    except OSError as error:
        return error
    return None


def _check_directory(path: str, refusal: OSError | None) -> None:
    """A working directory outside the root is how a leaked descriptor becomes an escape (CVE-2024-21626)."""
    if refusal is not None:
        raise KernelError(f"chdir {path}", refusal.errno or errno.EIO) from refusal
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:
        inside = False
    if not inside:
        raise KernelError(f"chdir {path}", errno.ENOENT, hint="it leads outside the container's root")
